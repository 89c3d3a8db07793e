"""Differences between methods and how sure they are: Student, Welch, Holm, seeds that would decide.

Everything here is arrays in, numbers out; differences keep the unit that they came in.
"""

from collections.abc import Sequence
from math import isnan, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
MOST_SEEDS = 1000  # beyond, more seeds are no practical advice


class Effect(NamedTuple):
    """A difference with its 95 % interval; bounds are NaN where there is no interval.

    n: pairs of seeds, or the seeds of the smaller side where they are not paired
    p: two-sided, of no difference
    spread: sample s.d. of paired differences; NaN where they are not paired
    """

    n: int
    mean: float = nan
    low: float = nan
    high: float = nan
    p: float = nan
    spread: float = nan
    paired: bool = True


def paired(differences: ArrayLike) -> Effect:
    """Mean of paired differences with Student's interval.

        d̄ ± t(0.975, n − 1) · s.d.(d) / √n

    There is no interval for one pair, nor for pairs that all differ by exactly the same amount:
    accuracies are counts of images, and such a spread of zero is a coincidence of few images.
    """
    from scipy.stats import ttest_1samp  # half a second

    values = np.asarray(differences, float).round(12)  # the last bits are not a difference
    n = len(values)
    if n == 0:
        return Effect(0)
    mean = float(values.mean())
    if n == 1 or np.ptp(values) == 0:
        return Effect(n, mean, spread=0.0 if n > 1 else nan)
    test = ttest_1samp(values, 0.0)
    low, high = map(float, test.confidence_interval(CONFIDENCE))
    return Effect(n, mean, low, high, float(test.pvalue), float(values.std(ddof=1)))


def unpaired(better: ArrayLike, than: ArrayLike) -> Effect:
    """Difference of two means of seeds that do not pair, with Welch's interval.

    There is none where a side has one seed, or where neither side varies.
    """
    from scipy.stats import ttest_ind

    sides = [np.asarray(side, float).round(12) for side in (better, than)]
    n = min(map(len, sides))
    if n == 0:
        return Effect(0, paired=False)
    mean = float(sides[0].mean() - sides[1].mean())
    if n == 1 or all(np.ptp(side) == 0 for side in sides):
        return Effect(n, mean, paired=False)
    test = ttest_ind(*sides, equal_var=False)
    low, high = map(float, test.confidence_interval(CONFIDENCE))
    return Effect(n, mean, low, high, float(test.pvalue), paired=False)


def welch(difference: float, spreads: Sequence[float], trials: int) -> tuple[float, float]:
    """Bounds of a printed difference, from the two printed deviations and the number of trials.

        d ± t(0.975, ν) · √(s₁²/n + s₂²/n),   ν = (n − 1) · (s₁² + s₂²)² / (s₁⁴ + s₂⁴)

    (Welch 1947; ν by Satterthwaite.) NaN where a deviation is not printed, or with one trial.
    """
    from scipy.stats import t

    first, second = (spread**2 for spread in spreads)
    if trials < 2 or isnan(difference + first + second) or first + second == 0:
        return nan, nan
    freedom = (trials - 1) * (first + second) ** 2 / (first**2 + second**2)
    half = t.ppf((1 + CONFIDENCE) / 2, freedom) * ((first + second) / trials) ** 0.5
    return float(difference - half), float(difference + half)


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values after Holm's correction for their number (Holm 1979); NaN ones are no tests.

    p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) · p_(j)),   p_(1) ≤ ... ≤ p_(m)
    """
    given = np.asarray(p_values, float)
    adjusted = np.full(len(given), nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, factors * given[order]))
    return adjusted


def seeds_to_decide(effect: Effect) -> float:
    """The smallest number of seeds whose interval would leave out zero at this mean and spread.

        min n:  t(0.975, n − 1) · s.d.(d) / √n < |d̄|

    inf beyond `MOST_SEEDS`; NaN where nothing is known of the spread, or seeds are not paired.
    """
    from scipy.stats import t

    if not effect.paired or not effect.spread > 0:
        return nan
    counts = np.arange(2, MOST_SEEDS + 1)
    halves = t.ppf((1 + CONFIDENCE) / 2, counts - 1) * effect.spread / np.sqrt(counts)
    enough = counts[halves < abs(effect.mean)]
    return float(enough[0]) if len(enough) else np.inf
