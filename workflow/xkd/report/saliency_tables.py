"""Tables of explanations: a block per measure, claims judged below; the scripts call `draw`.

Frames are those of `xkd.report.saliency`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xkd.report import caveats, claims, drawing, footnotes, published, tables, verdicts
from xkd.report.layout import Block, Cell, Line, Row, label
from xkd.report.results import paths
from xkd.report.saliency import MEASURES, block, number, read, summary

BEST = "* marks the best mean of a column and block, controls aside."


def table(
    frame: pd.DataFrame,
    measures: Sequence[str],
    item: Mapping[str, Any],
    printed: pd.DataFrame,
    notes: Iterable[str] = (),
) -> tables.Table:
    """A table with a block per measure that was taken.

    Where data, networks or training are not the paper's, its numbers stand in blocks of their own.
    """
    differs = caveats.differs(item)
    beside = None if differs else printed
    taken = [m for m in measures if m in frame and frame[m].notna().any()]
    sums = [summary(frame, measure, beside) for measure in taken]
    blocks = [block(one, item["labels"]) for one in sums]
    if differs:
        blocks += _published(taken, printed, item["labels"])
    return assembled(blocks, pd.concat(sums), item, [BEST, *notes])


def assembled(
    blocks: Sequence[Block], tidy: pd.DataFrame, item: Mapping[str, Any], notes: Iterable[str] = ()
) -> tables.Table:
    """A table of these blocks, with the sentences that every table has."""
    said = [*footnotes.sentences(item.get("note")), *footnotes.left_out(item), footnotes.SPREAD]
    return tables.Table(
        title=tables.heading(item),
        caption=item.get("caption", ""),
        banner=caveats.banner([item]),
        blocks=tuple(blocks),
        notes=(*said, *notes, *caveats.sentences(item)),
        tidy=tidy,
    )


def _published(
    measures: Iterable[str], printed: pd.DataFrame, labels: Mapping[str, Any]
) -> Iterable[Block]:
    """The paper's numbers by themselves."""
    for name in measures:
        measure = MEASURES[name]
        rows = printed[(printed.metric == measure.printed) & (measure.printed != "")]
        if not len(rows):
            continue
        places = list(dict.fromkeys(rows.dataset))
        shown = []
        for method, values in rows.groupby("method", sort=False):
            by_place = dict(zip(values.dataset, values.value, strict=True))
            cells = tuple(Cell(number(by_place.get(place, np.nan), measure)) for place in places)
            shown.append(Row((method, ""), (Line("published", cells),)))
        columns = tuple(label(labels, "dataset", place) or "all" for place in places)
        yield Block(f"Published: {measure.title}", ("Explanation", "From"), columns, tuple(shown))


def draw(snakemake: Any, key: str, measures: Sequence[str], notes: Iterable[str] = ()) -> None:
    """The script of a table of explanations: read, build, add verdicts, save.

    Args:
        key: of the analysis's output, "saliency" or "speed".
    """
    with drawing.job(snakemake):
        item = dict(snakemake.params.item)
        printed = published.load(snakemake.input.get("published"), item["labels"])
        found = table(read(snakemake.input[key]), measures, item, printed, notes)
        for judged in paths(snakemake.input.get("claims")):
            found = verdicts.add(found, claims.read(judged), item)
        tables.save(found, snakemake.output)
