"""Do the papers' claims hold here? Orders of methods, judged by differences of paired seeds.

    d̄ ± t(0.975, n − 1) · s.d.(d) / √n,   d_s = top1(better, s) − top1(than, s)

A claim, `{best_first: [a, [b, c], d], says: ...}`, makes a comparison of every method with every
one of the next place: a-b, a-c, b-d, c-d. Frames of claims have one line per comparison and table
row, and one more for the mean over rows, with columns

    claim, says, better, than:  number of the claim within its item, its words, two methods
    dataset, teacher, network:  the table row; empty for the mean
    rows, n:                    how many rows went into it, and how many seeds
    difference, low, high:      ours and its interval, in [−1, 1], positive where as claimed
    published, verdict:         the paper's difference, and one of `VERDICTS`
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xkd.readers import read_csv
from xkd.report import published
from xkd.report.results import with_plain_teachers

CONFIDENCE = 0.95
PLACE = ["dataset", "teacher", "network"]
VERDICTS = ("holds", "contradicted", "undecided", "not measured")


def comparisons(claim: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs (better, than) of methods: each with each of the next place."""
    places = [[place] if isinstance(place, str) else place for place in claim["best_first"]]
    return [pair for upper, lower in pairwise(places) for pair in product(upper, lower)]


def verdict(difference: float, low: float, high: float) -> str:
    """One of `VERDICTS`; without bounds, nothing is known about other seeds."""
    if np.isnan(difference):
        return "not measured"
    return "holds" if low > 0 else "contradicted" if high < 0 else "undecided"


def judge(runs: pd.DataFrame, item: Mapping[str, Any], printed: Path | None = None) -> pd.DataFrame:
    """Every claim of an item, as the module says.

    Args:
        runs: one row per run; reads dataset, network, method, teacher, seed, top1.
        item: with `claims`; see also `tables`.
        printed: CSV of published numbers; not read at demo scale.
    """
    runs, by_teacher = _placed(runs)
    ours = runs.pivot(index=[*PLACE, "seed"], columns="method", values="top1")
    theirs = _printed(printed, item, by_teacher)
    order = list(dict.fromkeys(runs[PLACE].itertuples(index=False, name=None)))
    lines = []
    for number, claim in enumerate(item["claims"], 1):
        for better, than in comparisons(claim):
            said = {"claim": number, "says": claim["says"], "better": better, "than": than}
            found = _difference(ours, better, than)
            known = _difference(theirs, better, than)
            lines += [{**said, **line} for line in _lines(found, known, order)]
    return pd.DataFrame(lines)


def _placed(runs: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Runs whose teacher is empty unless it makes rows: one method has several in one network."""
    plain = with_plain_teachers(runs)
    several = plain.groupby(["dataset", "network", "method"]).teacher.nunique() > 1
    names = plain.teacher.fillna("") if several.any() else ""
    return plain.assign(teacher=names), bool(several.any())


def _printed(path: Path | None, item: Mapping[str, Any], by_teacher: bool) -> pd.DataFrame:
    """Published accuracies, table rows by methods; what the item itself prints goes first."""
    known = published.load(
        path if published.comparable(item) else None, item["labels"], prefer=item["methods"]
    )
    quoted = known.note.str.startswith("quoted from").astype(bool)  # no result of the paper
    known = known[known.metric.isin(["top1", "error"]) & ~known.is_teacher.astype(bool) & ~quoted]
    accuracy = known.value.where(known.metric == "top1", 1 - known.value)
    own = known.table.map(lambda table: item.get("number", "") in table).astype(bool)
    teacher = known.teacher.fillna("") if by_teacher else ""
    known = pd.concat([known[own], known[~own]]).assign(accuracy=accuracy, teacher=teacher)
    once = known.dropna(subset="accuracy").drop_duplicates([*PLACE, "method"])
    return once.pivot(index=PLACE, columns="method", values="accuracy")


def _difference(accuracies: pd.DataFrame, better: str, than: str) -> pd.Series:
    """By row, or row and seed, where both have a value; rounded to hide the last bits."""
    if not {better, than} <= set(accuracies.columns):
        return pd.Series(index=accuracies.index[:0], dtype=float)
    return (accuracies[better] - accuracies[than]).dropna().round(12)


def _lines(found: pd.Series, known: pd.Series, order: Iterable[tuple]) -> Iterator[dict[str, Any]]:
    places = set(found.index.droplevel("seed"))
    by_row = {place: found.xs(place, level=PLACE) for place in order if place in places}
    for place, differences in by_row.items():
        yield {**dict(zip(PLACE, place, strict=True)), "rows": 1} | _interval(
            differences, known.get(place, np.nan)
        )
    if len(by_row) == 1:
        return
    several = {place: one for place, one in by_row.items() if len(one) > 1} or by_row
    paper = [known.get(place, np.nan) for place in several]
    mean = pd.concat(several.values(), axis=1).dropna().mean(axis=1) if several else found
    yield {**dict.fromkeys(PLACE, ""), "rows": len(several)} | _interval(
        mean.round(12), np.mean(paper) if paper else np.nan
    )


def _interval(differences: pd.Series, paper: float) -> dict[str, Any]:
    """Mean over seeds with its interval, the paper's difference and the verdict.

    There is no interval for one seed, nor for two with the same difference: accuracies are counts
    of images, and two are easily equal by chance.
    """
    from scipy.stats import t  # half a second

    n, low, high = len(differences), np.nan, np.nan
    mean = differences.mean() if n else np.nan
    if n > 2 or differences.nunique() > 1:
        half = t.ppf((1 + CONFIDENCE) / 2, n - 1) * differences.std(ddof=1) / n**0.5
        low, high = mean - half, mean + half
    words = verdict(mean, low, high)
    numbers = {"n": n, "difference": mean, "low": low, "high": high, "published": paper}
    return {**numbers, "verdict": words}


def read(path: str | Path) -> pd.DataFrame:
    """A frame of claims from its CSV; texts that are missing are empty."""
    texts = ["says", "better", "than", *PLACE, "verdict"]
    frame = read_csv(Path(path), texts)
    return frame.assign(**{name: frame[name].astype(object).fillna("") for name in texts})
