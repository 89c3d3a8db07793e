"""Differences between two sides with intervals, and the agreement of their predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from xkd.wording import percent

ROUNDING = 1e-12  # of differences between fractions that are equal


@dataclass(frozen=True)
class Difference:
    """mean: of B − A; low, high: 95 % interval, nan where there is none; why: of its kind."""

    mean: float
    low: float
    high: float
    why: str


def difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], pairs: list[tuple[int, int]]
) -> Difference:
    """Student's t over pairs of seeds; Welch's where no seed is paired.

    No interval from one pair, nor from differences that are all equal.
    """
    from scipy import stats

    nan = float("nan")
    if pairs:
        gaps = [theirs[b] - ours[a] for a, b in pairs]
        if len(gaps) < 2:
            return Difference(gaps[0], nan, nan, "one pair, no interval")
        if np.ptp(gaps) < ROUNDING:
            why = "all pairs differ alike, no interval" if any(gaps) else "equal in all pairs"
            return Difference(gaps[0], nan, nan, why)
        found = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
        return Difference(fmean(gaps), found.low, found.high, f"{len(gaps)} pairs")
    a, b = list(ours.values()), list(theirs.values())
    mean = fmean(b) - fmean(a)
    if min(len(a), len(b)) < 2 or max(np.ptp(a), np.ptp(b)) < ROUNDING:
        return Difference(mean, nan, nan, "not paired, no interval")
    found = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    return Difference(mean, found.low, found.high, "not paired, Welch")


def agreement(ours: Mapping[str, NDArray], theirs: Mapping[str, NDArray]) -> str:
    """One line about two predictions of the same images, with McNemar's exact test."""
    from scipy import stats

    a, b = (side["predicted"] == side["labels"] for side in (ours, theirs))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    same = float((ours["predicted"] == theirs["predicted"]).mean())
    text = (
        f"{percent(same, 1)} % predicted alike; both right {int((a & b).sum())}, only A {only_a}, "
        f"only B {only_b}, none {int((~a & ~b).sum())}"
    )
    if only_a + only_b:
        text += f"; McNemar p = {stats.binomtest(only_a, only_a + only_b).pvalue:.2g}"
    return text
