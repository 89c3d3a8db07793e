"""Tables: what goes into one, at which scale, with which notes; and its four files.

An item of the config, `snakemake.params.item`, carries

    title:    text; optionally paper, number, caption
    scale:    its name
    labels:   {"datasets": {...}, "networks": {...}, "methods": {...}}, ours -> printed
    note:     a sentence or a list of them, optional
    methods:  our methods in the order of the columns, optional (the house's order otherwise)
    claims:   what the paper says of their order, optional; see `claims`
    runs:     pairs of a cell and the seeds to use, optional
    differs:  cells that are not as the paper had them -> how, optional; see `caveats`
    left_out: labels of data sets that the config is to do without, optional
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from xkd.errors import Refused
from xkd.files import write_text
from xkd.plan.runs import Cell
from xkd.report import caveats, footnotes, looks, render
from xkd.report.compare import compare
from xkd.report.layout import ALONE, Block, lay_out
from xkd.report.results import (
    CELL,
    code_notes,
    precision_notes,
    teachers_of,
    with_plain_teachers,
)

SEPARATE = "Published, not comparable with ours"


@dataclass(frozen=True)
class Section:
    """A block to be: one metric's frame of `compare`, and its methods in order."""

    title: str
    frame: pd.DataFrame
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """What `render` turns into Markdown, LaTeX and HTML; `tidy` is the CSV."""

    title: str
    caption: str
    banner: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]
    tidy: pd.DataFrame


def accuracy_table(
    runs: pd.DataFrame,
    printed: pd.DataFrame,
    item: Mapping[str, Any],
    metric: str = "top1",
    rows: tuple[str, ...] = ("dataset", "network"),
    extra: Iterable[Section] = (),
    notes: Iterable[str] = (),
) -> Table:
    """Last epoch, best epoch, then the teachers' own accuracy.

    Args:
        runs: one row per run, teachers included; reads `rows`, method, teacher, seed, the metric,
            `best_<metric>` and fingerprint.
        printed: as `published.load` gives it.
        metric: "top1" or "error".
        extra: further sections, after these.
    Raises: Refused when two teachers fall into one cell of the table.
    """
    columns = list(item.get("methods") or looks.ordered(runs.method))
    teaching = teachers_of(runs, runs)
    taught = set(runs[~runs.index.isin(teaching.index)].network)  # not ResNet26 of LE's Table 5
    students = runs[runs.method.isin(columns) & runs.network.isin(taught)]
    students = with_plain_teachers(students) if "teacher" in rows else students
    _check_one_teacher(students, rows)
    of_students, of_teachers = printed[~printed.is_teacher], printed[printed.is_teacher]
    best = f"best_{metric}"
    sections = [
        Section("Test images, last epoch", compare(students, of_students, metric, rows), columns),
        Section("Test images, best epoch", compare(students, of_students, best, rows), columns),
        _teachers(teaching, of_teachers, metric),
    ]
    notes = [footnotes.BEST, *notes, *code_notes(runs), *precision_notes(runs)]
    return assemble([*sections, *extra], item, notes, rows)


def _teachers(teaching: pd.DataFrame, printed: pd.DataFrame, metric: str) -> Section:
    """The teachers' own accuracy; an assistant is shown with the method that trained it."""
    names = [
        Cell(*who).slug if who[-1] else who[1]
        for who in zip(*(teaching[name] for name in CELL), strict=True)
    ]
    ours = teaching.assign(teacher=names, method=ALONE)
    theirs = printed.assign(teacher=printed.network, method=ALONE)
    frame = compare(ours, theirs, metric, rows=("dataset", "teacher"))
    return Section("Teachers, test images, last epoch", frame)


def assemble(
    sections: Sequence[Section],
    item: Mapping[str, Any],
    notes: Iterable[str] = (),
    rows: tuple[str, ...] = ("dataset", "network"),
) -> Table:
    """A table of these sections; the first is the one that methods are ranked by.

    A published number shares no block, let alone a cell, with ours where ours is not comparable.
    """
    labels = {**item["labels"], "methods": {ALONE: "Accuracy", **item["labels"]["methods"]}}
    sections = [section for section in sections if len(section.frame)]
    if not sections:
        raise Refused(f"table '{item['title']}' has neither runs nor printed numbers; check inputs")
    said = [*footnotes.sentences(item.get("note")), *footnotes.left_out(item)]
    said += [footnotes.SPREAD, *notes]
    frames = [section.frame for section in sections]
    wholly = _wholly_differs(frames, item)
    shown = [replace(one, frame=_comparable(one.frame, wholly)) for one in sections]
    separate = _only_published(sections, wholly, labels)
    said += footnotes.verdicts([one.frame for one in shown], rows, labels) + caveats.sentences(item)
    blocks = [
        lay_out(section.title, section.frame, section.columns, labels, _own_method(item))
        for section in (*shown, *separate)
        if len(section.frame)
    ]
    # A list, since two sections may have the same title: the same images, another metric.
    tidy = pd.concat([section.frame.assign(section=section.title) for section in shown])
    tidy = tidy.drop(columns="differs")
    return Table(
        title=heading(item),
        caption=item.get("caption", ""),
        banner=caveats.banner([item]),
        blocks=tuple(blocks),
        notes=(*said, *footnotes.of_print(frames, labels)),
        tidy=tidy[["section", *tidy.columns.drop("section")]],
    )


def _own_method(item: Mapping[str, Any]) -> str:
    """The method that the paper claims to be the best, if it claims that."""
    orders = [claim["best_first"][0] for claim in item.get("claims", ()) if "best_first" in claim]
    return next((first for first in orders if isinstance(first, str)), "")


def heading(item: Mapping[str, Any]) -> str:
    """`LE, Table 2: Networks trained with regularisation`."""
    source = [item[name] for name in ("paper", "number") if item.get(name)]
    return f"{', '.join(source)}: {item['title']}" if source else item["title"]


def save(table: Table, output: Any) -> None:
    """Write output.csv (tidy, fractions), .md, .html and .tex, each whole or not at all."""
    write_text(output.csv, table.tidy.to_csv(index=False))
    write_text(output.md, render.to_markdown(table))
    write_text(output.html, render.to_html(table))
    if hasattr(output, "tex"):
        write_text(output.tex, render.to_latex(table))


def _wholly_differs(frames: Sequence[pd.DataFrame], item: Mapping[str, Any]) -> bool:
    """Whether nothing that was measured is as the paper had it, so that all print goes apart."""
    measured = [flag for frame in frames for flag in frame.differs[frame.n > 0]]
    return all(measured) if measured else caveats.differs(item)


def _comparable(frame: pd.DataFrame, wholly: bool) -> pd.DataFrame:
    """Without print where ours differs; without what print alone has, where all of ours does."""
    empty = dict.fromkeys(("published", "published_std", "difference", "tolerance"), np.nan)
    ours = frame.assign(**empty, reproduced=None, printed="", note="")
    if wholly:
        return ours[ours.n > 0]
    return frame.where(~frame.differs, ours)


def _only_published(
    sections: Iterable[Section], wholly: bool, labels: Mapping[str, Any]
) -> list[Section]:
    """The printed numbers that ours do not compare with, once, in blocks apart.

    They are the same under last and best epoch, and under methods published as another.
    """
    apart = []
    for section in sections:
        frame = section.frame[(section.frame.printed != "") & (section.frame.differs | wholly)]
        twins = labels.get("published_as", {})
        shown = set(frame.method)
        frame = frame[[twins.get(name) not in shown for name in frame.method]]
        frame = frame.assign(n=0, mean=np.nan, std=np.nan, difference=np.nan, reproduced=None)
        if len(frame) and not frame.metric.iloc[0].startswith("best_"):
            title = f"{SEPARATE}: {section.title}" if apart else SEPARATE
            apart.append(Section(title, frame, section.columns))
    return apart


def _check_one_teacher(students: pd.DataFrame, rows: tuple[str, ...]) -> None:
    for key, cell in students.groupby([*rows, "method"], dropna=False):
        teachers = {"none" if slug is None else slug for slug in cell.teacher}
        if len(teachers) > 1:
            raise Refused(
                f"table cell {'/'.join(map(str, key))} would average students of different "
                f"teachers ({', '.join(sorted(teachers))}); list one of them in the item"
            )
