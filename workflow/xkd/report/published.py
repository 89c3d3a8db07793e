"""The papers' printed numbers, under our names and in our units."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from xkd.errors import Refused

COLUMNS = ["paper", "table", "dataset", "teacher", "student", "model", "method"]
COLUMNS += ["metric", "value", "std", "note"]

#: Names that mean the same, in the papers and perhaps in our labels.
SYNONYMS = (
    {"MLP1024", "MLP 784-1024-1024-10", "MLP"},
    {"Label Smoothing", "LS"},
    {"Confidence Penalty", "CP"},
    {"CE", "teacher (CE)", "scratch (CE)"},
    {"AT", "ATT"},
    {"AT+KD", "AT_Hinton"},
    {"FSP+KD", "FSP_Hinton"},
)
#: Printed metric -> ours and the factor to it; any other `…_pct` becomes a fraction of that name.
METRICS = {
    "test_accuracy_pct": ("top1", 0.01),
    "accuracy_pct": ("top1", 0.01),
    "last_test_accuracy_pct": ("top1", 0.01),
    "max_test_accuracy_pct": ("best_top1", 0.01),
    "test_error_pct": ("error", 0.01),
    "mean_entropy_bits": ("entropy_bits", 1.0),
    "params_million": ("parameters", 1e6),
}


def comparable(item: Mapping[str, Any]) -> bool:
    """Whether the item's numbers may stand beside the paper's: nothing differs but the seeds."""
    return not item.get("differs")


def load(
    path: str | Path | None,
    labels: Mapping[str, Mapping[str, str]],
    table: str | None = None,
    prefer: Iterable[str] = (),
) -> pd.DataFrame:
    """Printed numbers with columns table, dataset, network, teacher, method, metric, value, std,
    note, text; one row per printed cell, and one more for each of our methods published as it.

    Names that the labels know become ours, others stay as printed. Percentages become fractions;
    `text` keeps what was printed (pairs of classes, say), `teacher` the last of a chain
    (`ResNet26->ResNet20` is the assistant), `is_teacher` marks the accuracy of a teacher itself.

    Args:
        path: None, for an item without printed numbers, gives no rows.
        labels: {"datasets": {ours: printed}, "networks": ..., "methods": ...}; perhaps
            "published_as": {method: another of ours with the same printed numbers}.
        table: keep this one only, as printed: "Table 3".
        prefer: our methods to choose first where two share a label; of the methods published as
            another, those shown.
    Raises: Refused when the file is missing or its columns are not as expected.
    """
    try:
        raw = pd.DataFrame(columns=COLUMNS, dtype=str)
        if path is not None:
            raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise Refused(
            f"{path} is missing; restore it from the paper's folder in the repository"
        ) from None
    if list(raw.columns) != COLUMNS:
        raise Refused(
            f"{path}: columns {', '.join(raw.columns)}; expected {', '.join(COLUMNS)}; "
            "restore it from the repository"
        )
    if table is not None:
        raw = raw[raw.table == table]
    prefer = list(prefer)
    datasets, networks = (inverse(labels.get(kind, {})) for kind in ("datasets", "networks"))
    methods = inverse(labels.get("methods", {}), prefer)
    units = raw.metric.map(_unit)
    factor = units.map(lambda unit: unit[1]).astype(float)
    frame = pd.DataFrame(
        {
            "table": raw.table,
            "dataset": raw.dataset.map(datasets),
            "network": raw.model.map(networks),
            "teacher": raw.teacher.map(lambda chain: networks(chain.split("->")[-1]) or None),
            "method": raw.method.map(methods),
            "is_teacher": raw.method.str.fullmatch(r"(teacher|scratch) \(CE\)"),
            "metric": units.map(lambda unit: unit[0]),
            "value": pd.to_numeric(raw.value, errors="coerce") * factor,
            "std": pd.to_numeric(raw["std"], errors="coerce") * factor,
            "note": raw.note,
            "text": raw.value,
        }
    )
    twins = [
        frame[(frame.method == other) & ~frame.is_teacher].assign(method=name)
        for name, other in labels.get("published_as", {}).items()
        if name in prefer
    ]
    return pd.concat([frame, *twins], ignore_index=True)


def beside(inputs: Any, item: Mapping[str, Any], table: str | None = None) -> pd.DataFrame | None:
    """Printed numbers for a figure; None if not comparable, or its rule names no such input."""
    path = inputs.get("published")
    if path is None or not comparable(item):
        return None
    return load(path, item["labels"], table)


def inverse(labels: Mapping[str, str], prefer: Iterable[str] = ()) -> Callable[[str], str]:
    """A function from printed to our name; what no label knows comes back as printed."""
    ours: dict[str, str] = {}
    for name in (*(name for name in prefer if name in labels), *labels):
        ours.setdefault(_plain(labels[name]), name)

    def look_up(printed: str) -> str:
        meant = [
            printed,
            *(name for group in SYNONYMS if printed in group for name in sorted(group)),
        ]
        return next((ours[_plain(name)] for name in meant if _plain(name) in ours), printed)

    return look_up


def _unit(metric: str) -> tuple[str, float]:
    percent = metric.endswith("_pct")
    return METRICS.get(metric, (metric.removesuffix("_pct"), 0.01 if percent else 1.0))


def _plain(label: str) -> str:
    """Case, spaces and hyphens aside: `CIFAR-10` and `CIFAR10` are one label."""
    return re.sub(r"[\s_-]", "", label.casefold())
