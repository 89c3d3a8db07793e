"""The sentences under a table: spread, verdicts, ranks, what print says about itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from xkd.report import vocabulary
from xkd.report.compare import rank_correlation
from xkd.report.layout import ALONE, Labels, label

BEST = (
    "The best epoch is chosen on the test set and therefore flatters; it is given because some "
    "papers report it."
)
SPREAD = "Mean ± sample standard deviation (ddof = 1) over n seeds; a single run has no ±."


def sentences(note: str | Iterable[str] | None) -> list[str]:
    """An item's note, which may be one sentence or several."""
    return [note] if isinstance(note, str) else list(note or [])


def left_out(item: Mapping[str, Any]) -> list[str]:
    """Which data sets the config is to do without."""
    names = item.get("left_out")
    return [f"Left out, as the config says (without): {', '.join(names)}."] if names else []


def verdicts(frames: Sequence[pd.DataFrame], rows: tuple[str, ...], labels: Labels) -> list[str]:
    """What the marks mean, and how alike the methods rank in the first frame and in print."""
    judged = {value for frame in frames for value in frame.reproduced if value is not None}
    words = {True: "within tolerance", False: "outside tolerance"}
    used = [words[value] for value in judged]
    if any(not frame.differs[frame.n > 0].all() and frame.differs.any() for frame in frames):
        used.append("not comparable")
    notes = vocabulary.legend(["within tolerance", *used] if judged else used)
    twins = labels.get("published_as", {})  # print would count twice
    notes += _printed_once(frames, labels, twins)
    ranks = rank_correlation(frames[0][~frames[0].method.isin(twins)], rows)
    if ranks:
        found = [
            f"{' '.join(label(labels, *pair) for pair in zip(rows, row, strict=True))} "
            f"{f'{rho:.2f}'.replace('-', '−')} ({methods} methods)"
            for row, (rho, methods) in ranks.items()
        ]
        notes.append(
            f"Rank correlation of the methods with print (Spearman's ρ): {'; '.join(found)}."
        )
    return notes


def _printed_once(
    frames: Sequence[pd.DataFrame], labels: Labels, twins: Mapping[str, str]
) -> list[str]:
    """Whose differences are from a number that stands under another method."""
    shown = {name for frame in frames for name in frame[frame.printed != ""].method}
    again = [name for name in twins if name in shown and twins[name] in shown]
    pairs = [f"{label(labels, 'method', n)} to {label(labels, 'method', twins[n])}" for n in again]
    if not pairs:
        return []
    return [
        f"A number that the paper prints once stands once; differences compare {'; '.join(pairs)}."
    ]


def of_print(frames: Iterable[pd.DataFrame], labels: Labels) -> list[str]:
    """What is known about printed values, each remark once with the columns that it is about."""
    cells = pd.concat(frames)
    rows = [name for name in ("dataset", "teacher", "network", "source") if name in cells]
    cells = cells[cells.printed != ""].fillna(dict.fromkeys(rows, ""))
    cells = cells.drop_duplicates([*rows, "method"])
    cells = cells.assign(row=list(cells[rows].itertuples(index=False, name=None)))
    names = {**labels, "methods": {**labels["methods"], ALONE: "teachers"}}
    notes = []
    for note, about in cells[cells.note != ""].groupby("note", sort=False):
        where = about.groupby("method", sort=False).row.apply(frozenset)
        parts = []
        for place, methods in where.groupby(where, sort=False):
            everywhere = cells[cells.method.isin(methods.index)]
            text = ", ".join(label(names, "method", method) for method in methods.index)
            if len(place) < everywhere.row.nunique():
                text += f" ({_places(place, everywhere, rows, labels)})"
            parts.append(text)
        notes.append(f"Published {'; '.join(parts)}: {note}.")
    return notes


def _places(chosen: frozenset, cells: pd.DataFrame, rows: list[str], labels: Labels) -> str:
    """Table rows in words: a whole data set by its name, single rows by what tells them apart."""
    varying = [name for name in rows if cells[name].nunique() > 1]
    texts: dict[str, None] = {}
    for dataset, group in cells.groupby("dataset", sort=False):
        if chosen >= set(group.row):
            texts[label(labels, "dataset", dataset)] = None
            continue
        for row in group[group.row.isin(chosen)].to_dict("records"):
            words = (label(labels, name, row[name]) for name in varying if row[name])
            texts[" ".join(words)] = None
    return ", ".join(texts)
