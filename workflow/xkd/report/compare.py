"""Ours beside published as one tidy frame: mean, spread, difference, verdict; all in fractions."""

from typing import NamedTuple

import numpy as np
import pandas as pd

#: How far a mean may lie from the printed one and still count as reproduced, in accuracy or error.
TOLERANCE = {"cifar10": 0.005, "cifar100": 0.007, "mnist": 0.001}


class Metric(NamedTuple):
    """How a stored quantity is shown; `better` is +1 or -1, 0 where neither end is the aim."""

    label: str
    factor: float
    decimals: int
    better: int
    unit: str = ""
    judged: bool = False  # whether TOLERANCE applies


METRICS = {
    "top1": Metric("accuracy", 100, 2, +1, "%", True),
    "best_top1": Metric("accuracy", 100, 2, +1, "%", True),
    "error": Metric("error", 100, 2, -1, "%", True),
    "best_error": Metric("error", 100, 2, -1, "%", True),
    "ece": Metric("ECE in 20 bins", 1, 4, -1),
    "ece15": Metric("ECE in 15 bins", 1, 4, -1),
    "entropy_bits": Metric("mean entropy", 1, 3, 0, "bits"),
    "parameters": Metric("parameters", 1e-6, 2, 0, "million"),
}


def compare(
    runs: pd.DataFrame,
    printed: pd.DataFrame,
    metric: str,
    rows: tuple[str, ...] = ("dataset", "network"),
) -> pd.DataFrame:
    """One line per table cell that we measured, that the paper prints, or both.

    Args:
        runs: one row per run, with `rows`, method and the metric; it may be empty.
        printed: as `published.load` gives it; `best_x` is compared with the printed x, because no
            table says which epoch it reports.
        rows: what makes a row of the table; methods make the columns.
    Returns: columns rows, method, metric, n, mean, std (ddof = 1, NaN for one run), published,
        published_std, printed (as in the paper, with its digits, or n/a), note, difference,
        tolerance, reproduced (True, False or None), differs (whether ours is not as the paper had
        it, as the runs' own column of that name says; then nothing is reproduced or not).
    """
    key = [*rows, "method"]
    runs = runs if len(runs) else pd.DataFrame(columns=[*key, metric])
    measured = runs.dropna(subset=[metric]).assign(**{name: _filled(runs[name]) for name in key})
    grouped = measured.groupby(key, sort=False)[metric]
    ours = grouped.agg(n="count", mean="mean", std="std").reset_index()  # pandas' std has ddof 1
    if "differs" in measured:
        flags = measured.groupby(key, sort=False).differs.any()
        ours = ours.assign(differs=flags.to_numpy(bool))
    kind = metric.removeprefix("best_")
    theirs = printed[(printed.metric == kind) & (printed.text != "")]
    theirs = theirs.assign(**{name: _filled(theirs[name]) for name in key})
    names = {"value": "published", "std": "published_std", "text": "printed", "note": "note"}
    theirs = theirs.rename(columns=names)[[*key, *names.values()]].drop_duplicates(key)
    keys = pd.concat([ours[key], theirs[key]]).drop_duplicates()
    frame = keys.merge(ours, on=key, how="left").merge(theirs, on=key, how="left")
    frame.insert(len(key), "metric", metric)
    texts = {name: frame[name].fillna("") for name in ("printed", "note")}
    flags = frame["differs"].eq(True) if "differs" in frame else False
    counts = frame.n.fillna(0).astype(int)
    return _judged(frame.drop(columns="differs", errors="ignore").assign(n=counts, **texts), flags)


def _filled(column: pd.Series) -> pd.Series:
    """No teacher is the empty string, so that groups and merges need no special case."""
    return column.astype(object).where(column.notna(), "")


def _judged(frame: pd.DataFrame, differs: pd.Series | bool) -> pd.DataFrame:
    """Adds difference, tolerance max(2·s.d. of ours, TOLERANCE), reproduced and differs.

    The spread is ours: the papers print none, or doubtful ones (A37).
    """
    frame = frame.assign(difference=frame["mean"] - frame.published)
    floor = frame.dataset.map(TOLERANCE).where(frame.metric.map(lambda name: METRICS[name].judged))
    tolerance = np.maximum(2 * frame["std"].fillna(0), floor.astype(float))
    close = frame.difference.abs() <= tolerance + 1e-9  # 0.5 points exactly is reproduced
    known = frame.difference.notna() & tolerance.notna() & ~pd.Series(differs, frame.index)
    judged = close.astype(object).where(known, None)
    return frame.assign(tolerance=tolerance, reproduced=judged, differs=differs)


def rank_correlation(frame: pd.DataFrame, rows: tuple[str, ...]) -> dict[tuple, tuple[float, int]]:
    """Spearman's ρ between our order of the methods and the printed one, per table row.

    Args:
        frame: as `compare` gives it.
    Returns: row -> (ρ, number of methods), where at least 3 methods have both values and neither
        side is constant.
    """
    from scipy.stats import spearmanr  # half a second, and only at paper scale

    found = {}
    for row, cells in frame.dropna(subset=["mean", "published"]).groupby(list(rows), sort=False):
        if len(cells) >= 3 and cells["mean"].nunique() > 1 and cells.published.nunique() > 1:
            found[row] = (float(spearmanr(cells["mean"], cells.published).statistic), len(cells))
    return found
