"""What differs from the paper's data, networks and training, in sentences under the numbers.

An item carries `differs`: cell -> [part, setting, ours, the paper's], as
`xkd.plan.comparability.Comparison` finds them; and `fewer_seeds`: cell -> [ours, the paper's].
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xkd.report.layout import Labels, label

#: Part of the settings -> what a banner calls it, and the head of its sentence.
PARTS = {
    "data": ("data", "Data"),
    "network": ("networks", "Networks"),
    "recipe": ("training", "Recipe"),
    "method": ("training", "Options"),
    "teacher": ("training", "Teachers"),
    "search": ("training", "Searches"),
}
KINDS = {"dataset": "dataset", "network": "network"}  # settings whose values have labels


def differs(item: Mapping[str, Any]) -> bool:
    """Whether anything of an item is not as the paper had it."""
    return bool(item.get("differs"))


def banner(items: Iterable[Mapping[str, Any]]) -> str:
    """A line above numbers that are not, or not all, comparable with the paper; else empty."""
    items = list(items)
    parts = [part for item in items for part, *_ in _differences(item)]
    names = list(dict.fromkeys(PARTS[part][0] for part in PARTS if part in parts))
    if not names:
        return ""
    *first, last = names
    what = f"{', '.join(first)} and {last}" if first else last
    scale = items[0]["scale"]
    if all(_wholly(item) for item in items):
        return f"{scale}: other {what} than the paper's, not comparable with it"
    return f"{scale}: in part other {what} than the paper's, not comparable where marked ≠"


def sentences(item: Mapping[str, Any]) -> list[str]:
    """Every difference once, by part: `Recipe: epochs 2 (paper: 50), batch 128 (paper: 16).`"""
    labels = item["labels"]
    found: dict[str, dict[str, dict[str, dict[str, None]]]] = {}
    for part, setting, ours, papers in _differences(item):
        shown = _value(labels, setting, ours)
        values = found.setdefault(part, {}).setdefault(setting, {})
        values.setdefault(shown, {})[_value(labels, setting, papers)] = None
    told = []
    for part in PARTS:
        if part in found:
            texts = [
                f"{_name(part, setting)}{ours} (paper: {_list(papers)})"
                for setting, values in found[part].items()
                for ours, papers in values.items()
            ]
            told.append(f"{PARTS[part][1]}{_where(item, part)}: {'; '.join(texts)}.")
    return told + _seeds(item)


def of_settings(
    differences: Sequence[Sequence[Any]], labels: Labels, other: str = "paper"
) -> list[str]:
    """The differences of one cell, or of one run, from the paper or from what `other` names."""
    return [
        f"{PARTS[part][1].lower()}: {_name(part, setting)}{_value(labels, setting, ours)} "
        f"({other}: {_value(labels, setting, papers)})"
        for part, setting, ours, papers in differences
    ]


def _differences(item: Mapping[str, Any]) -> list[Sequence[Any]]:
    return [one for differences in item.get("differs", {}).values() for one in differences]


def _wholly(item: Mapping[str, Any]) -> bool:
    shown = {cell for cell, _ in item.get("runs", ())}
    return not shown - set(item.get("differs", ()))


def _where(item: Mapping[str, Any], part: str) -> str:
    """Which methods a difference is about, where it is not all of them."""
    about = {
        cell.split("/")[2]
        for cell, found in item["differs"].items()
        if any(one[0] == part for one in found)
    }
    every = {cell.split("/")[2] for cell, _ in item.get("runs", ())}
    if not every - about:
        return ""
    return f" of {', '.join(label(item['labels'], 'method', name) for name in sorted(about))}"


def _name(part: str, setting: str) -> str:
    return "" if setting in KINDS and part in ("data", "network", "teacher") else f"{setting} "


def _value(labels: Labels, setting: str, value: Any) -> str:
    if value is None:
        return "none"
    return label(labels, KINDS[setting], str(value)) if setting in KINDS else str(value)


def _list(texts: Iterable[str]) -> str:
    return " or ".join(texts)


def _seeds(item: Mapping[str, Any]) -> list[str]:
    """Fewer seeds widen intervals; they make nothing incomparable."""
    fewer = {tuple(pair) for pair in item.get("fewer_seeds", {}).values()}
    return [f"Seeds: {ours} (paper: {papers})." for ours, papers in sorted(fewer)]
