"""Intervals, corrections and numbers of seeds, by hand and against scipy."""

from math import inf, isnan, nan

import numpy as np
import pytest
from scipy import stats

from xkd.report import effects


def test_three_equal_differences_have_a_mean_and_no_interval():
    effect = effects.paired([0.026, 0.026 + 1e-15, 0.026])
    assert (effect.n, effect.mean, effect.spread) == (3, pytest.approx(0.026), 0.0)
    assert isnan(effect.low)
    assert isnan(effect.p)
    assert isnan(effects.seeds_to_decide(effect))


def test_a_paired_interval_and_its_p_are_those_of_scipy():
    values = np.array([0.01, -0.004, 0.012, 0.02])
    effect = effects.paired(values)
    assert effect.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert (effect.low, effect.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_one_seed_and_none_have_no_interval():
    assert effects.paired([]).n == 0
    assert isnan(effects.paired([]).mean)
    assert effects.paired([0.01])[:2] == (1, 0.01)
    assert isnan(effects.paired([0.01]).low)
    assert isnan(effects.unpaired([0.9], [0.8, 0.9]).low)
    assert isnan(effects.unpaired([0.9, 0.9], [0.8, 0.8]).low)


def test_welch_from_printed_deviations_agrees_with_scipys_test():
    # 88.70 ± 0.18 against 87.95 ± 0.32, five trials each: ν = 6.3
    low, high = effects.welch(0.75, [0.18, 0.32], 5)
    assert (low, high) == pytest.approx((0.353, 1.147), abs=0.001)
    p = stats.ttest_ind_from_stats(0.75, 0.18, 5, 0, 0.32, 5, equal_var=False).pvalue
    freedom = 4 * 0.1348**2 / (0.0324**2 + 0.1024**2)
    assert p == pytest.approx(2 * stats.t.sf(0.75 / (0.1348 / 5) ** 0.5, freedom))
    assert (0.75 - low) / (0.1348 / 5) ** 0.5 == pytest.approx(stats.t.ppf(0.975, freedom))


@pytest.mark.parametrize(("spreads", "trials"), [([0.1, nan], 5), ([0.1, 0.1], 1), ([0, 0], 5)])
def test_print_without_deviations_or_with_one_trial_supports_no_interval(spreads, trials):
    assert all(map(isnan, effects.welch(0.01, spreads, trials)))


def test_holm_multiplies_by_what_is_left_and_never_falls():
    # sorted 0.01 · 3, 0.02 · 2, 0.03 · 1 -> 0.03, 0.04, max(0.04, 0.03)
    assert effects.holm([0.03, 0.01, nan, 0.02]) == pytest.approx(
        [0.04, 0.03, nan, 0.04], nan_ok=True
    )
    assert effects.holm([0.6, 0.7]).tolist() == [1, 1]
    assert len(effects.holm([])) == 0


def test_the_seeds_that_would_decide_are_the_first_whose_interval_leaves_out_zero():
    effect = effects.Effect(3, 0.01, spread=0.02)
    needed = int(effects.seeds_to_decide(effect))
    halves = [stats.t.ppf(0.975, n - 1) * 0.02 / n**0.5 for n in (needed - 1, needed)]
    assert halves[1] < 0.01 <= halves[0]
    assert effects.seeds_to_decide(effects.Effect(3, 0.0, spread=0.02)) == inf
    assert isnan(effects.seeds_to_decide(effects.Effect(3, 0.01, paired=False)))
