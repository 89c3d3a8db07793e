"""Do the papers' claims hold here? Orders of methods, judged by differences of paired seeds.

    d̄ ± t(0.975, n − 1) · s.d.(d) / √n,   d_s = top1(better, s) − top1(than, s)

A claim, `{best_first: [a, [b, c], d], says: ...}`, makes a comparison of every method with every
one of the next place: a-b, a-c, b-d, c-d. Where two methods share fewer than two seeds, and each
has several, the difference is one of means (Welch). Claims that are no orders: `other_claims`.
Frames of claims have one line per comparison and table row, and one more for the mean over rows,
with columns

    claim, says, kind:          number of the claim within its item, its words, which sort it is
    better, than:               two methods
    dataset, teacher, network:  the table row; empty for the mean
    rows, n, paired:            how many rows went into it, how many seeds, whether they pair
    counts, unit:               what n counts, and what a difference is measured in
    difference, low, high:      ours and its interval, in [−1, 1], positive where as claimed
    p, holm:                    of no difference; after Holm's correction over the item's rows, or
                                over its conclusions
    needed:                     seeds that would decide what is undecided, at this spread
    published, published_low, published_high: the paper's difference, and the interval that its own
                                deviations and trials support
    found, verdict:             one of `vocabulary.FOUND`, and of `vocabulary.VERDICTS`
    cells:                      what was compared, so that nothing need be counted twice
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xkd.plan.runs import Cell
from xkd.readers import read_csv
from xkd.report import effects, other_claims, published, vocabulary
from xkd.report.results import CELL, with_plain_teachers

PLACE = ["dataset", "teacher", "network"]
TEXTS = ["says", "kind", "better", "than", *PLACE, "counts", "unit", "found", "verdict", "cells"]
SEVERAL = 2  # seeds that make an interval


def comparisons(claim: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs (better, than) of methods: each with each of the next place."""
    places = [[place] if isinstance(place, str) else place for place in claim["best_first"]]
    return [pair for upper, lower in pairwise(places) for pair in product(upper, lower)]


def judge(
    runs: pd.DataFrame,
    item: Mapping[str, Any],
    printed: Path | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Every claim of an item, as the module says.

    Args:
        runs: one row per run; reads dataset, network, method, teacher, seed, top1.
        item: with `claims`; perhaps `trials`, of the paper, and `differs`; see also `tables`.
        printed: CSV of published numbers.
        inputs: files of analyses, for claims that are no orders.
    """
    lines: list[dict[str, Any]] = []
    sides = Sides(runs, item, printed)
    for number, claim in enumerate(item["claims"], 1):
        said = {"claim": number, "says": claim["says"]}
        if "best_first" in claim:
            pairs = comparisons(claim)
            told = (line for pair in pairs for line in sides.lines(*pair))
        else:
            told = other_claims.judge(claim, item, runs, printed, inputs or {})
        lines += [{**said, **line} for line in told]
    frame = pd.DataFrame(lines).assign(holm=np.nan)
    for _, group in frame.groupby(frame.network != ""):
        once = group.drop_duplicates("cells")  # one claim may repeat a comparison of another
        adjusted = dict(zip(once.cells, effects.holm(once.p), strict=True))
        frame.loc[group.index, "holm"] = group.cells.map(adjusted)
    return frame


class Sides:
    """Ours and the paper's accuracies, table rows (and seeds) by methods."""

    def __init__(self, runs: pd.DataFrame, item: Mapping[str, Any], printed: Path | None) -> None:
        names = [
            str(Cell(*(None if pd.isna(part) else part for part in key)))
            for key in runs[CELL].itertuples(index=False, name=None)
        ]
        runs, by_teacher = _placed(runs.assign(cell=names))
        self.trials = int(item.get("trials", 1))
        self.ours = runs.pivot(index=[*PLACE, "seed"], columns="method", values="top1")
        self.cells = runs.drop_duplicates([*PLACE, "method"]).pivot(
            index=PLACE, columns="method", values="cell"
        )
        self.differing = set(item.get("differs", ()))
        self.order = list(dict.fromkeys(runs[PLACE].itertuples(index=False, name=None)))
        known = _printed(printed, item, by_teacher)
        self.theirs = known.pivot(index=PLACE, columns="method", values="accuracy")
        self.spreads = known.pivot(index=PLACE, columns="method", values="std")

    def printed(self, cell: Cell) -> float:
        """The paper's accuracy of a cell, NaN where it prints none."""
        for place in self.theirs.index:
            same = (place[0], place[2]) == (cell.dataset, cell.network)
            if same and (not place[1] or place[1] == (cell.teacher or "").partition("-")[0]):
                return float(self.theirs.loc[place].get(cell.method, np.nan))
        return np.nan

    def lines(self, better: str, than: str) -> Iterator[dict[str, Any]]:
        """One line per row that measures both, and one for the mean over rows if they are many."""
        pair = [better, than]
        said = {"kind": "order", "better": better, "than": than}
        if not set(pair) <= set(self.ours.columns):
            yield said | self._line(effects.Effect(0), [], pair)
            return
        shared = self.ours[pair].dropna()
        differences: dict[tuple, pd.Series] = {}
        shown = 0
        for place in self.order:
            both = self.ours[pair].xs(place, level=PLACE)
            counts = both.notna().sum()
            if not counts.all():
                continue
            shown += 1
            if (both.notna().all(axis=1).sum()) < SEVERAL <= counts.min():
                effect = effects.unpaired(both[better].dropna(), both[than].dropna())
            else:
                found = shared.xs(place, level=PLACE)
                differences[place] = (found[better] - found[than]).round(12)
                effect = effects.paired(differences[place])
            if effect.n:
                yield (
                    said | self._line(effect, [place], pair) | dict(zip(PLACE, place, strict=True))
                )
        if shown == 1:
            return
        several = {
            place: one for place, one in differences.items() if len(one) >= SEVERAL
        } or differences
        mean = (
            pd.concat(several.values(), axis=1).dropna().mean(axis=1).round(12) if several else []
        )
        yield said | self._line(effects.paired(mean), list(several), pair)

    def _line(self, effect: effects.Effect, places: list[tuple], pair: list[str]) -> dict[str, Any]:
        """Of one row, or of the mean over several."""
        cells = [self.cells.loc[place, name] for place in places for name in pair]
        paper, low, high = self._published(places, pair)
        same = not self.differing.intersection(cells)
        if not same:
            paper = low = high = np.nan
        here = vocabulary.found(effect.mean, effect.low, effect.high)
        return {
            **dict.fromkeys(PLACE, ""),
            "rows": len(places),
            "n": effect.n,
            "paired": effect.paired,
            "counts": "seeds",
            "unit": "points",
            "difference": effect.mean,
            "low": effect.low,
            "high": effect.high,
            "p": effect.p,
            "needed": effects.seeds_to_decide(effect) if here == "undecided" else np.nan,
            "published": paper,
            "published_low": low,
            "published_high": high,
            "found": here,
            "verdict": vocabulary.verdict(effect.mean, effect.low, effect.high, paper, same),
            "cells": " ".join(cells) or " > ".join(pair),
        }

    def _published(self, places: list[tuple], pair: list[str]) -> tuple[float, float, float]:
        """The paper's difference, and the interval that its trials support, of a single row."""
        if not set(pair) <= set(self.theirs.columns) or not set(places) <= set(self.theirs.index):
            return (np.nan,) * 3
        numbers = self.theirs.loc[places, pair] if places else self.theirs.iloc[:0]
        difference = float((numbers[pair[0]] - numbers[pair[1]]).mean(skipna=False))
        if len(places) != 1:
            return difference, np.nan, np.nan
        spreads = self.spreads.loc[places[0], pair].astype(float)
        return (difference, *effects.welch(difference, list(spreads), self.trials))


def _placed(runs: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Runs whose teacher is empty unless it makes rows: one method has several in one network."""
    plain = with_plain_teachers(runs)
    several = plain.groupby(["dataset", "network", "method"]).teacher.nunique() > 1
    names = plain.teacher.fillna("") if several.any() else ""
    return plain.assign(teacher=names), bool(several.any())


def _printed(path: Path | None, item: Mapping[str, Any], by_teacher: bool) -> pd.DataFrame:
    """Published accuracies once per row and method; what the item itself prints goes first."""
    known = published.load(path, item["labels"], prefer=item["methods"])
    quoted = known.note.str.startswith("quoted from").astype(bool)  # no result of the paper
    known = known[known.metric.isin(["top1", "error"]) & ~known.is_teacher.astype(bool) & ~quoted]
    accuracy = known.value.where(known.metric == "top1", 1 - known.value)
    own = known.table.map(lambda table: item.get("number", "") in table).astype(bool)
    teacher = known.teacher.fillna("") if by_teacher else ""
    known = pd.concat([known[own], known[~own]]).assign(accuracy=accuracy, teacher=teacher)
    return known.dropna(subset="accuracy").drop_duplicates([*PLACE, "method"])


def read(path: str | Path) -> pd.DataFrame:
    """A frame of claims from its CSV; texts that are missing are empty."""
    frame = read_csv(Path(path), TEXTS)
    return frame.assign(**{name: frame[name].astype(object).fillna("") for name in TEXTS})


def conclusions(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines that verdicts are counted on: means over rows, or the only row.

    Kinds of claims that have no mean over rows conclude for each.
    """
    last = frame.groupby(["claim", "better", "than"], sort=False).tail(1)
    each = frame[frame.kind.isin(["most_similar", "maps"])] if len(frame) else frame
    return frame.loc[last.index.union(each.index, sort=False)].sort_index()


def once(frames: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Conclusions of several items, a comparison of the very same cells in the first one only."""
    seen: set[str] = set()
    kept = []
    for frame in frames:
        whole = conclusions(frame)
        new = whole[~whole.cells.isin(seen) | whole.verdict.eq("not measured")]
        seen |= set(new.cells)
        kept.append(new)
    return kept
