"""Tables: what goes into one, at which scale, with which notes; and its four files.

An item of the config, `snakemake.params.item`, carries

    title, caption: text
    scale:          "demo" or "paper"
    labels:         {"datasets": {...}, "networks": {...}, "methods": {...}}, ours -> printed
    note:           a sentence or a list of them, optional
    methods:        our methods in the order of the columns, optional (the house's order otherwise)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from xkd.artifacts import write_text
from xkd.errors import Refused
from xkd.report import families, markup, published
from xkd.report.compare import compare, rank_correlation
from xkd.report.layout import Block, Labels, label, lay_out
from xkd.report.results import CELL, code_notes, teachers_of
from xkd.runs import Cell

ALONE = "alone"  # the column of a teacher's own accuracy
SEPARATE = "Published (other data, other networks)"
BEST = (
    "The best epoch is chosen on the test set and therefore flatters; it is given because some "
    "papers report it."
)
SPREAD = "Mean ± sample standard deviation (ddof = 1) over n seeds; a single run has no ±."
VERDICT = (
    "✓ reproduced: |ours − published| ≤ max(2 s.d. of ours; 0.5 points on CIFAR-10, 0.7 on "
    "CIFAR-100, 0.1 on MNIST); ✗ not reproduced."
)


@dataclass(frozen=True)
class Section:
    """A block to be: one metric's frame of `compare`, and its methods in order."""

    title: str
    frame: pd.DataFrame
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """What `markup` turns into Markdown, LaTeX and HTML; `tidy` is the CSV."""

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
    columns = list(item.get("methods") or families.ordered(runs.method))
    teaching = teachers_of(runs, runs)
    taught = set(runs[~runs.index.isin(teaching.index)].network)  # not ResNet26 of LE's Table 5
    students = runs[runs.method.isin(columns) & runs.network.isin(taught)]
    _check_one_teacher(students, rows)
    of_students, of_teachers = printed[~printed.is_teacher], printed[printed.is_teacher]
    best = f"best_{metric}"
    sections = [
        Section("Test images, last epoch", compare(students, of_students, metric, rows), columns),
        Section("Test images, best epoch", compare(students, of_students, best, rows), columns),
        _teachers(teaching, of_teachers, metric),
    ]
    return assemble([*sections, *extra], item, [BEST, *notes, *code_notes(runs)], rows)


def _teachers(teaching: pd.DataFrame, printed: pd.DataFrame, metric: str) -> Section:
    """The teachers' own accuracy; an assistant is shown with the method that trained it."""
    slugs = [Cell(*who).slug for who in zip(*(teaching[name] for name in CELL), strict=True)]
    ours = teaching.assign(teacher=slugs, method=ALONE)
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

    At demo scale no published number shares a block, let alone a cell, with ours.
    """
    labels = {**item["labels"], "methods": {ALONE: "Accuracy", **item["labels"]["methods"]}}
    sections = [section for section in sections if len(section.frame)]
    if not sections:
        raise Refused(f"table '{item['title']}' has neither runs nor printed numbers; check inputs")
    remarks = [*_sentences(item.get("note")), SPREAD, *notes]
    if published.comparable(item):
        shown, separate = sections, []
        remarks += _verdict_notes(sections, rows, labels)
    else:
        shown = [replace(section, frame=_only_ours(section.frame)) for section in sections]
        separate = _only_published(sections)
    blocks = [
        lay_out(section.title, section.frame, section.columns, labels)
        for section in (*shown, *separate)
        if len(section.frame)
    ]
    tidy = pd.concat({section.title: section.frame for section in shown}, names=["section"])
    return Table(
        title=item["title"],
        caption=item.get("caption", ""),
        banner="" if published.comparable(item) else published.DEMO,
        blocks=tuple(blocks),
        notes=(*remarks, *_printed_notes(sections, labels)),
        tidy=tidy.reset_index("section"),
    )


def save(table: Table, output: Any) -> None:
    """Write output.csv (tidy, fractions), .md, .tex and .html, each whole or not at all."""
    write_text(output.csv, table.tidy.to_csv(index=False))
    write_text(output.md, markup.to_markdown(table))
    write_text(output.tex, markup.to_latex(table))
    write_text(output.html, markup.to_html(table))


def _only_ours(frame: pd.DataFrame) -> pd.DataFrame:
    empty = dict.fromkeys(("published", "published_std", "difference", "tolerance"), np.nan)
    return frame[frame.n > 0].assign(**empty, reproduced=None, note="")


def _only_published(sections: Iterable[Section]) -> list[Section]:
    """The printed numbers once (they are the same under last and best epoch), in blocks apart."""
    apart = []
    for section in sections:
        frame = section.frame[section.frame.published.notna()]
        frame = frame.assign(n=0, mean=np.nan, std=np.nan, difference=np.nan, reproduced=None)
        if len(frame) and not frame.metric.iloc[0].startswith("best_"):
            title = f"{SEPARATE}: {section.title}" if apart else SEPARATE
            apart.append(Section(title, frame, section.columns))
    return apart


def _check_one_teacher(students: pd.DataFrame, rows: tuple[str, ...]) -> None:
    for key, cells in students.groupby([*rows, "method"], dropna=False):
        if (
            len(
                teachers := cells.teacher.astype(object)
                .where(cells.teacher.notna(), "none")
                .unique()
            )
            > 1
        ):
            raise Refused(
                f"table cell {'/'.join(map(str, key))} would average students of different "
                f"teachers ({', '.join(sorted(teachers))}); list one of them in the item"
            )


def _sentences(note: str | Iterable[str] | None) -> list[str]:
    return [note] if isinstance(note, str) else list(note or [])


def _verdict_notes(sections: Sequence[Section], rows: tuple[str, ...], labels: Labels) -> list[str]:
    notes = [VERDICT] if any(part.frame.reproduced.notna().any() for part in sections) else []
    ranks = rank_correlation(sections[0].frame, rows)
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


def _printed_notes(sections: Iterable[Section], labels: Labels) -> list[str]:
    """What is known about printed values, each remark once with the columns that it is about."""
    cells = pd.concat([section.frame for section in sections])
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
