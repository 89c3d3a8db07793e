"""The paper's layout of a tidy frame: networks in rows, methods in columns, print under ours."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from xkd.plan.runs import SLUG
from xkd.report import looks
from xkd.report.compare import METRICS, Metric
from xkd.report.results import of_slug

MISSING = "–"
ALONE = "alone"  # the column of a teacher's own accuracy
HEADINGS = {"dataset": "Data set", "network": "Network", "teacher": "Teacher", "source": "Source"}
KINDS = {"dataset": "datasets", "network": "networks", "teacher": "networks", "method": "methods"}

Labels = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Cell:
    text: str = MISSING
    strong: bool = False
    reproduced: bool | None = None


@dataclass(frozen=True)
class Line:
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Row:
    """One row of the paper's table: a line of ours, and perhaps of published and difference."""

    headings: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Block:
    title: str
    headings: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def label(labels: Labels, column: str, name: str) -> str:
    """The printed label of a data set, network, teacher slug or method; else the name itself."""
    known = labels.get(KINDS.get(column, ""), {})
    if column == "teacher" and "-" in name and re.fullmatch(SLUG, name):
        network, method = of_slug(name)
        return f"{known.get(network, network)} ({label(labels, 'method', method)})"
    return known.get(name, name)


def column_names(methods: Sequence[str], labels: Labels) -> list[str]:
    """Labels of methods; two that share one are told apart by the rest of their names."""
    names = [label(labels, "method", method) for method in methods]
    return [
        f"{name} ({own})" if names.count(name) > 1 and (own := variant(method)) else name
        for name, method in zip(names, methods, strict=True)
    ]


def variant(method: str) -> str:
    """`official` of `kd_official`: what the name adds to its family's."""
    return method.removeprefix(looks.family(method) or "").strip("_").replace("_", " ")


def lay_out(title: str, frame: pd.DataFrame, columns: Sequence[str], labels: Labels) -> Block:
    """A block from one metric's frame of `compare`.

    Lines without any number are left out, but ours stays where other rows have it; a data set
    common to all rows moves into the title.

    Args:
        columns: methods in order; methods of the frame that it leaves out follow.
    """
    metric = METRICS[frame.metric.iloc[0]]
    key = list(frame.columns[: frame.columns.get_loc("method")])
    present = set(frame.method)
    methods = [name for name in columns if name in present]
    methods += looks.ordered(present.difference(methods))
    headings = [name for name in key if name != "dataset" or frame.dataset.nunique() > 1]
    unit = f" ({metric.unit})" if metric.unit else ""
    shared = "" if "dataset" in headings else f", {label(labels, 'dataset', frame.dataset.iloc[0])}"
    rows = []
    for identity, cells in frame.groupby(key, sort=False):
        names = dict(zip(key, identity, strict=True))
        by_method = cells.set_index("method")
        records = [by_method.loc[name] if name in by_method.index else None for name in methods]
        heads = tuple(label(labels, name, names[name]) for name in headings)
        rows.append(Row(heads, tuple(_lines(records, metric, frame))))
    return Block(
        f"{title}: {metric.label}{unit}{shared}",
        tuple(HEADINGS[name] for name in headings),
        tuple(column_names(methods, labels)),
        tuple(rows),
    )


def _lines(
    records: Sequence[pd.Series | None], metric: Metric, frame: pd.DataFrame
) -> Iterable[Line]:
    if (frame.n > 0).any():
        counts = [int(record.n) for record in records if record is not None and record.n]
        yield Line(
            f"ours ({seeds(counts)})" if counts else "ours",
            _values(records, "mean", "std", metric, max(counts, default=0)),
        )
    if any(record is not None and record.printed for record in records):
        yield Line("published", _values(records, "published", "published_std", metric))
    differences = tuple(_difference(record, metric) for record in records)
    if any(cell.text != MISSING for cell in differences):
        yield Line("difference", differences)


def seeds(counts: Sequence[int]) -> str:
    """`n = 5`, or `n = 3–5`."""
    low, high = min(counts), max(counts)
    return f"n = {high}" if low == high else f"n = {low}–{high}"


def _values(
    records: Sequence[pd.Series | None], value: str, spread: str, metric: Metric, full: int = 0
) -> tuple[Cell, ...]:
    """Cells `91.21 ± 0.07`, the best of the line strong; `(n = 3)` where seeds are missing."""
    shown = [None if record is None or pd.isna(record[value]) else record for record in records]
    rounded = [
        None if record is None else round(record[value] * metric.factor, metric.decimals)
        for record in shown
    ]
    scores = [number * metric.better for number in rounded if number is not None]
    best = max(scores) if metric.better and len(scores) > 1 else None
    cells = []
    for asked, record, number in zip(records, shown, rounded, strict=True):
        if record is None:
            other = asked.printed if value == "published" and asked is not None else ""
            cells.append(Cell(other or MISSING))
            continue
        text = f"{number:.{metric.decimals}f}" if value == "mean" else record.printed
        if not pd.isna(record[spread]):
            text += f" ± {record[spread] * metric.factor:.{metric.decimals}f}"
        if full and record.n < full:
            text += f" (n = {record.n})"
        cells.append(Cell(text, strong=best is not None and number * metric.better == best))
    return tuple(cells)


def _difference(record: pd.Series | None, metric: Metric) -> Cell:
    if record is None or pd.isna(record.difference):
        return Cell()
    text = signed(record.difference * metric.factor, metric.decimals)
    return Cell(text, reproduced=record.reproduced)


def signed(number: float, decimals: int) -> str:
    """`+0.95`, `−0.10` with a real minus sign, `0.00`."""
    rounded = round(number, decimals) + 0.0  # no negative zero
    return f"{rounded:{'+' if rounded else ''}.{decimals}f}".replace("-", "−")
