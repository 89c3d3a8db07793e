"""The layout of a tidy frame: networks in rows, methods in columns, print under ours."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from xkd.plan.runs import SLUG
from xkd.report import looks, vocabulary
from xkd.report.compare import METRICS, Metric
from xkd.report.results import of_slug

MISSING = "–"
MOST_COLUMNS = 8  # methods beside each other that a page still shows
ALONE = "alone"  # the column of a teacher's own accuracy
HEADINGS = {"dataset": "Data set", "network": "Network", "teacher": "Teacher", "source": "Source"}
KINDS = {"dataset": "datasets", "network": "networks", "teacher": "networks", "method": "methods"}

Labels = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Cell:
    """word: of `vocabulary`, which says its symbol and colour; alone: its symbol is in the text."""

    text: str = MISSING
    word: str = ""
    alone: bool = False

    @property
    def mark(self) -> str:
        """The symbol to put after the text."""
        return vocabulary.WORDS[self.word].symbol if self.word and not self.alone else ""

    @property
    def tone(self) -> str:
        return vocabulary.WORDS[self.word].tone if self.word else ""


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


def lay_out(
    title: str, frame: pd.DataFrame, columns: Sequence[str], labels: Labels, first: str = ""
) -> Block:
    """A block from one metric's frame of `compare`; methods in rows where they are many.

    Lines without any number are left out, but ours stays where other rows have it; a data set
    common to all rows moves into the title.

    Args:
        columns: methods in order; methods of the frame that it leaves out follow.
        first: the method to put first where methods are rows.
    """
    metric = METRICS[frame.metric.iloc[0]]
    key = list(frame.columns[: frame.columns.get_loc("method")])
    present = set(frame.method)
    methods = [name for name in columns if name in present]
    methods += looks.ordered(present.difference(methods))
    headings = [name for name in key if name != "dataset" or frame.dataset.nunique() > 1]
    unit = f" ({metric.unit})" if metric.unit else ""
    shared = "" if "dataset" in headings else f", {label(labels, 'dataset', frame.dataset.iloc[0])}"
    twins = labels.get("published_as", {})
    again = {name for name in methods if twins.get(name) in present}
    places = list(frame.groupby(key, sort=False).groups)
    places = [place if isinstance(place, tuple) else (place,) for place in places]
    cells = dict(_records(frame, key))
    heads = [
        tuple(
            label(labels, name, value)
            for name, value in zip(key, place, strict=True)
            if name in headings
        )
        for place in places
    ]
    named = column_names(methods, labels)
    whole = f"{title}: {metric.label}{unit}{shared}"
    if len(methods) <= MOST_COLUMNS:
        rows = [
            Row(
                names,
                tuple(_lines([cells.get((*place, one)) for one in methods], metric, frame, again)),
            )
            for place, names in zip(places, heads, strict=True)
        ]
        return Block(whole, tuple(HEADINGS[name] for name in headings), tuple(named), tuple(rows))
    order = sorted(zip(methods, named, strict=True), key=lambda pair: pair[0] != first)
    rows = [
        Row(
            (name,),
            tuple(_lines([cells.get((*place, one)) for place in places], metric, frame, again)),
        )
        for one, name in order
    ]
    return Block(whole, ("Method",), tuple(" ".join(names) for names in heads), tuple(rows))


def _records(frame: pd.DataFrame, key: Sequence[str]) -> Iterable[tuple[tuple, pd.Series]]:
    for _, record in frame.iterrows():
        yield (*(record[name] for name in key), record.method), record


def _lines(
    records: Sequence[pd.Series | None], metric: Metric, frame: pd.DataFrame, again: set[str]
) -> Iterable[Line]:
    """Ours, published, difference; numbers printed for another method (`again`) stand there."""
    if (frame.n > 0).any():
        counts = [int(record.n) for record in records if record is not None and record.n]
        part = not frame.differs[frame.n > 0].all()  # where all differ, the banner says so
        yield Line(
            f"ours ({seeds(counts)})" if counts else "ours",
            tuple(_ours(record, metric, max(counts, default=0), part) for record in records),
        )
    once = [None if record is None or record.method in again else record for record in records]
    if any(record is not None and record.printed for record in once):
        yield Line("published", tuple(_published(record, metric) for record in once))
    differences = tuple(_difference(record, metric) for record in records)
    if any(cell.text != MISSING for cell in differences):
        yield Line("difference", differences)


def seeds(counts: Sequence[int]) -> str:
    """`n = 5`, or `n = 3–5`."""
    low, high = min(counts), max(counts)
    return f"n = {high}" if low == high else f"n = {low}–{high}"


def _ours(record: pd.Series | None, metric: Metric, full: int, part: bool) -> Cell:
    """`91.21 ± 0.07`; `(n = 3)` where seeds are missing, ≠ where others compare and this not."""
    if record is None or pd.isna(record["mean"]):
        return Cell()
    text = _number(record["mean"], metric) + _spread(record["std"], metric)
    if record.n < full:
        text += f" (n = {record.n})"
    return Cell(text, "not comparable" if part and record.differs else "")


def _published(record: pd.Series | None, metric: Metric) -> Cell:
    """As printed, with its digits, or what stands there in place of a number."""
    if record is None or not record.printed:
        return Cell()
    return Cell(record.printed + _spread(record.published_std, metric))


def _number(value: float, metric: Metric) -> str:
    return f"{round(value * metric.factor, metric.decimals):.{metric.decimals}f}"


def _spread(value: float, metric: Metric) -> str:
    return "" if pd.isna(value) else f" ± {_number(value, metric)}"


def _difference(record: pd.Series | None, metric: Metric) -> Cell:
    if record is None or pd.isna(record.difference):
        return Cell()
    text = signed(record.difference * metric.factor, metric.decimals)
    if record.reproduced is None:
        return Cell(text)
    return Cell(text, "within tolerance" if record.reproduced else "outside tolerance")


def signed(number: float, decimals: int) -> str:
    """`+0.95`, `−0.10` with a real minus sign, `0.00`."""
    rounded = round(number, decimals) + 0.0  # no negative zero
    return f"{rounded:{'+' if rounded else ''}.{decimals}f}".replace("-", "−")
