"""How verdicts on claims are shown: in the table they are about, and all on one page.

Frames of claims are those of `xkd.report.claims`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from xkd.report import caveats, claims, vocabulary
from xkd.report.claims import PLACE
from xkd.report.layout import MISSING, Block, Cell, Labels, Line, Row, label, seeds, signed
from xkd.report.tables import Table

TITLE = "Claims of the paper, differences in points of accuracy"
RULE = (
    "Claims: differences in points of test accuracy, last epoch, paired by seed, positive where "
    "as claimed; in brackets the 95 % interval of Student's t over seeds (Welch's where seeds do "
    "not pair), not corrected for the number of comparisons; p after Holm's correction over the "
    "comparisons of the item. Means over rows take the seeds that all rows have, and leave out "
    "rows of a single seed where others have more; verdicts are counted on them, and a comparison "
    "of the same cells once."
)
PRINTED = (
    "In brackets beside a published difference: the 95 % interval that the printed deviations and "
    "trials support (Welch)."
)
MAPS_TITLE = "Claims of the paper, differences between explanations"
MAPS_RULE = (
    "Claims about explanations: differences in the named measure, positive where as claimed, image "
    "by image, each image's values averaged over seeds first; in brackets the 95 % bootstrap "
    "interval over images (9,999 resamples; Student's over seeds where the measure is one number a "
    "run), not corrected; p by Wilcoxon's signed-rank test, after Holm's correction over the item."
)
FINE = frozenset({"insertion", "deletion", "intensity", "ratio"})  # units shown with 3 decimals
STAND_INS = "Verdicts here are about what was measured; they say nothing about the paper."


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
    present = [record for record in records if record is not None]
    counts = [record["n"] for record in present if record["n"]]
    ours = tuple(Cell(_ours(record, max(counts, default=0))) for record in records)
    of = {record["counts"] for record in present} - {"seeds"}
    counted = f"{seeds(counts)}{''.join(f' {name}' for name in of)}" if counts else ""
    yield Line(f"ours ({counted})" if counts else "ours", ours)
    if any(not np.isnan(record["published"]) for record in present):
        paper = (MISSING if record is None else _paper(record) for record in records)
        yield Line("published", tuple(map(Cell, paper)))
    if any(not np.isnan(record["holm"]) for record in present):
        tests = (MISSING if record is None else p_value(record["holm"]) for record in records)
        yield Line("p (Holm)", tuple(map(Cell, tests)))
    words = (
        Cell() if record is None else Cell(words_of(record), record["verdict"], alone=True)
        for record in records
    )
    yield Line("verdict", tuple(words))


def words_of(record: Mapping[str, Any]) -> str:
    """`? undecided; 12 seeds would decide`, `≠ holds here, not comparable`."""
    verdict, found = record["verdict"], record["found"]
    text = f"{vocabulary.WORDS[verdict].symbol} {vocabulary.outcome(verdict, found)}"
    if verdict.endswith("published") and found == "holds":
        text += f"; {found} here"
    if found == "undecided" and not np.isnan(needed := record["needed"]):
        text += f"; {needed_seeds(needed)}"
    return text


def needed_seeds(needed: float) -> str:
    if np.isinf(needed):
        return "more than 1,000 seeds would decide"
    return f"{needed:.0f} seeds would decide"


def p_value(p: float) -> str:
    return MISSING if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _ours(record: dict[str, Any] | None, full: int) -> str:
    """`+0.95 [+0.62, +1.28]`, and the number of seeds where it is smaller than elsewhere."""
    if record is None or np.isnan(record["difference"]):
        return MISSING
    text = interval(record, "difference", "low", "high")
    text += "" if record["paired"] else ", unpaired"
    return text + (f" (n = {record['n']})" if 0 < record["n"] < full else "")


def _paper(record: Mapping[str, Any]) -> str:
    return interval(record, "published", "published_low", "published_high")


def interval(record: Mapping[str, Any], value: str, low: str, high: str) -> str:
    shown = [shown_in(record["unit"], record[name]) for name in (value, low, high)]
    return shown[0] if np.isnan(record[low]) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def shown_in(unit: str, number: float) -> str:
    """A difference with its sign: two decimals, of measures of explanations three."""
    decimals = 3 if unit in FINE else 2
    factor = 100 if unit == "points" else 1
    return MISSING if np.isnan(number) else signed(number * factor, decimals)


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
    """How many comparisons of each claim, over all rows, had which outcome."""
    whole = claims.conclusions(frame)
    outcomes = list(map(vocabulary.outcome, whole.verdict, whole.found))
    counts = pd.crosstab([whole.claim, whole.says], pd.Series(outcomes, whole.index, str))
    return counts.reindex(columns=list(vocabulary.OUTCOMES), fill_value=0)


def notes(frame: pd.DataFrame, item: Mapping[str, Any]) -> list[str]:
    """What was claimed and what became of it, in sentences; then the rule, and the words used."""
    told = []
    for (number, says), counts in counted(frame).iterrows():
        parts = [f"{name} in {count}" for name, count in counts.items() if count]
        outcome = f"{', '.join(parts)} of {counts.sum()} comparisons"
        outcome = outcome if counts.sum() > 1 else counts.idxmax()
        told.append(f"Claim {number}: {says}: {outcome}.")
    return [*told, *_rules([frame], caveats.differs(item))]


def _rules(frames: Sequence[pd.DataFrame], differs: bool) -> list[str]:
    """How verdicts were reached, and the words that these frames use."""
    used = {word for frame in frames for word in (*frame.verdict, *frame.found)}
    printed = any(frame.published_low.notna().any() for frame in frames)
    kinds = {kind for frame in frames for kind in frame.kind}
    return [
        *([RULE] if kinds - {"maps"} else []),
        *([MAPS_RULE] if "maps" in kinds else []),
        *([PRINTED] if printed else []),
        *vocabulary.legend(used),
        *([STAND_INS] if differs else []),
    ]


def add(table: Table, frame: pd.DataFrame, item: Mapping[str, Any]) -> Table:
    """The table of an item with a block of its claims, and what became of them in its notes."""
    measured = frame[frame.verdict != "not measured"]
    title = MAPS_TITLE if set(frame.kind) == {"maps"} else TITLE
    blocks = [block(title, frame, item["labels"])] if len(measured) else []
    return replace(
        table, blocks=(*table.blocks, *blocks), notes=(*notes(frame, item), *table.notes)
    )


def page(paper: str, items: Sequence[Mapping[str, Any]], frames: Sequence[pd.DataFrame]) -> Table:
    """All claims of a paper: what became of each, then every comparison, item by item.

    Args:
        items: as `tables` describes them; frames: the claims of each.
    """
    once = claims.once(list(frames))
    counts = [counted(frame) for frame in once]
    words = [word for word in vocabulary.OUTCOMES if any(count[word].any() for count in counts)]
    lines = [
        Row(
            (item["number"], str(number)),
            (Line(says, tuple(Cell(str(one) if one else MISSING) for one in row)),),
        )
        for item, count in zip(items, counts, strict=True)
        for (number, says), row in count[words].iterrows()
    ]
    blocks = [
        Block(
            "Comparisons by verdict, over all rows", ("Item", "Claim"), tuple(words), tuple(lines)
        )
    ]
    blocks += [
        block(f"{item['number']}: {item['title']}", frame, item["labels"])
        for item, frame in zip(items, frames, strict=True)
        if (frame.verdict != "not measured").any()
    ]
    tidy = [
        frame.assign(
            outcome=list(map(vocabulary.outcome, frame.verdict, frame.found)),
            counted=frame.index.isin(kept.index),  # the others are rows, or counted elsewhere
            item=item["name"],
        )
        for item, frame, kept in zip(items, frames, once, strict=True)
    ]
    tidy = [table[["item", *table.columns.drop("item")]] for table in tidy]
    return Table(
        title=f"{paper}: what the paper claims, and whether it holds here",
        caption="",
        banner=caveats.banner(items),
        blocks=tuple(blocks),
        notes=tuple(_rules(frames, any(map(caveats.differs, items)))),
        tidy=pd.concat(tidy, ignore_index=True),
    )
