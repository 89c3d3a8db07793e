"""How verdicts on claims are shown: in the table they are about, and all on one page.

Frames of claims are those of `xkd.report.claims`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from xkd.report import published
from xkd.report.claims import PLACE, VERDICTS
from xkd.report.layout import MISSING, Block, Cell, Labels, Line, Row, label, seeds, signed
from xkd.report.tables import Table

TITLE = "Claims of the paper, differences in points of accuracy"
RULE = (
    "Claims: differences in points of test accuracy, last epoch, paired by seed, positive where "
    "as claimed; in brackets the 95 % interval of Student's t over seeds, not corrected for the "
    "number of comparisons. A claim holds where all of it lies above 0, is contradicted where all "
    "of it lies below, and undecided otherwise, or with one seed, or two that differ alike. "
    "Means over rows take the seeds that all rows have, and leave out rows of a single seed where "
    "others have more; verdicts are counted on them."
)
STAND_INS = (
    "Verdicts at demo scale are about the stand-ins that were measured; they say nothing about the "
    "paper."
)


def block(title: str, frame: pd.DataFrame, labels: Labels) -> Block:
    """Measured comparisons in rows; networks, or what makes the item's rows, in columns."""
    frame = frame[frame.verdict != "not measured"]
    rows = frame[frame.network != ""]
    places = list(dict.fromkeys(rows[PLACE].itertuples(index=False, name=None)))
    means = sorted({int(count) for count in frame.rows[frame.network == ""] if count > 1})
    columns = [*(_place(place, rows, labels) for place in places)]
    columns += [f"mean of {'–'.join(map(str, means))}"] if means else []
    shown = []
    for (number, better, than), lines in frame.groupby(["claim", "better", "than"], sort=False):
        by_place = {tuple(line[name] for name in PLACE): line for line in lines.to_dict("records")}
        keys = [*places, ("",) * len(PLACE)][: len(columns)]
        records = [by_place.get(place) for place in keys]
        heads = (str(number), label(labels, "method", better), label(labels, "method", than))
        shown.append(Row(heads, tuple(_rows(records))))
    return Block(title, ("Claim", "Better", "Than"), tuple(columns), tuple(shown))


def _rows(records: list[dict[str, Any] | None]) -> Iterator[Line]:
    counts = [record["n"] for record in records if record and record["n"]]
    ours = tuple(Cell(_ours(record, max(counts, default=0))) for record in records)
    yield Line(f"ours ({seeds(counts)})" if counts else "ours", ours)
    paper = [np.nan if record is None else record["published"] for record in records]
    if not all(map(np.isnan, paper)):
        yield Line("published", tuple(Cell(_points(number)) for number in paper))
    words = (MISSING if record is None else record["verdict"] for record in records)
    yield Line("verdict", tuple(map(Cell, words)))


def _ours(record: dict[str, Any] | None, full: int) -> str:
    """`+0.95 [+0.62, +1.28]`, and the number of seeds where it is smaller than elsewhere."""
    if record is None or not record["n"]:
        return MISSING
    text = _points(record["difference"])
    if not np.isnan(record["low"]):
        text += f" [{_points(record['low'])}, {_points(record['high'])}]"
    return text + (f" (n = {record['n']})" if record["n"] < full else "")


def _points(fraction: float) -> str:
    return MISSING if np.isnan(fraction) else signed(100 * fraction, 2)


def _place(place: tuple[str, str, str], rows: pd.DataFrame, labels: Labels) -> str:
    """`ResNet14`, with its data set and its teacher where there are several."""
    dataset, teacher, network = place
    words = [label(labels, "network", network)]
    if rows.dataset.nunique() > 1:
        words.insert(0, label(labels, "dataset", dataset))
    if teacher:
        words.append(f"from {label(labels, 'teacher', teacher)}")
    return " ".join(words)


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """How many comparisons of each claim, over all rows, came to which verdict."""
    whole = frame.groupby(["claim", "better", "than"], sort=False).tail(1)
    counts = pd.crosstab([whole.claim, whole.says], whole.verdict)
    return counts.reindex(columns=list(VERDICTS), fill_value=0)


def notes(frame: pd.DataFrame, item: Mapping[str, Any]) -> list[str]:
    """What was claimed and what became of it, in sentences; then the rule."""
    told = []
    for (number, says), counts in counted(frame).iterrows():
        parts = [f"{name} in {count}" for name, count in counts.items() if count]
        outcome = f"{', '.join(parts)} of {counts.sum()} comparisons"
        outcome = outcome if counts.sum() > 1 else counts.idxmax()
        told.append(f"Claim {number}: {says}: {outcome}.")
    return [*told, RULE, *([] if published.comparable(item) else [STAND_INS])]


def add(table: Table, frame: pd.DataFrame, item: Mapping[str, Any]) -> Table:
    """The table of an item with a block of its claims, and what became of them in its notes."""
    blocks = [block(TITLE, frame, item["labels"])] if (frame.network != "").any() else []
    return replace(
        table, blocks=(*table.blocks, *blocks), notes=(*notes(frame, item), *table.notes)
    )


def page(paper: str, items: Sequence[Mapping[str, Any]], frames: Sequence[pd.DataFrame]) -> Table:
    """All claims of a paper: what became of each, then every comparison, item by item.

    Args:
        items: as `tables` describes them; frames: the claims of each.
    """
    demo = not published.comparable(items[0])
    lines = [
        Row(
            (item["number"], str(number)),
            (Line(says, tuple(Cell(str(count) if count else MISSING) for count in counts)),),
        )
        for item, frame in zip(items, frames, strict=True)
        for (number, says), counts in counted(frame).iterrows()
    ]
    blocks = [
        Block("Comparisons by verdict, over all rows", ("Item", "Claim"), VERDICTS, tuple(lines))
    ]
    blocks += [
        block(f"{item['number']}: {item['title']}", frame, item["labels"])
        for item, frame in zip(items, frames, strict=True)
        if (frame.network != "").any()
    ]
    tidy = [
        frame.assign(item=item["name"]).set_index("item").reset_index()
        for item, frame in zip(items, frames, strict=True)
    ]
    return Table(
        title=f"{paper}: what the paper claims, and whether it holds here",
        caption="",
        banner=published.DEMO if demo else "",
        blocks=tuple(blocks),
        notes=(RULE, *([STAND_INS] if demo else [])),
        tidy=pd.concat(tidy, ignore_index=True),
    )
