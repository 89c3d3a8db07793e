"""Where two runs or cells differ: settings, code, versions, numbers, curves, predictions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from xkd.errors import Refused
from xkd.files import is_committed, read_json
from xkd.inspection import cells
from xkd.inspection.differences import Difference, agreement, difference
from xkd.inspection.target import Target
from xkd.inspection.text import Description
from xkd.plan.runs import Cell, Run
from xkd.readers import read_npz
from xkd.records import cards, code
from xkd.wording import span

#: Numbers of a run that are compared, in the order in which they are shown; fractions in percent.
METRICS = ("top1", "best_top1", "train_top1", "nll", "ece")
FRACTIONS = ("top1", "best_top1", "train_top1")


@dataclass
class Side:
    """The complete runs of a cell, or one run: cards, metrics and histories by seed."""

    target: Target
    cards: dict[int, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Target) -> "Side":
        """Raises: Refused when the target is no run or cell, or has no complete seed."""
        if target.cell is None or target.kind != "runs":
            raise Refused(f"{target.path}: expected a run or a cell to compare")
        side = cls(target)
        if target.run:
            seeds = [target.run.seed]
        elif manifest := cells.manifest_of(target):
            seeds = sorted(int(seed) for seed in manifest["runs"])
        else:
            raise Refused(f"{target.cell} is not there yet; run `xkd train {target.cell}`")
        for seed in seeds:
            side.cards[seed] = cards.read(side.folder(seed))
            side.metrics[seed] = read_json(side.folder(seed) / "metrics.json")
        return side

    @property
    def name(self) -> str:
        return str(self.target.run or self.target.cell)

    def folder(self, seed: int) -> Path:
        return self.target.layout.run(Run(self.target.cell, seed))

    def first(self) -> dict[str, Any]:
        return next(iter(self.cards.values()))


@dataclass(frozen=True)
class Comparison:
    """Facts about two sides, and whether they are equal in all of them.

    settings: key -> values of A and B where they differ
    differences: metric -> difference B − A
    """

    equal: bool
    description: Description
    settings: dict[str, tuple[Any, Any]]
    differences: dict[str, Difference]

    def payload(self) -> dict[str, Any]:
        """Everything, ready for JSON; an interval that does not exist is null."""
        facts = json.loads(self.description.json())
        numbers = {
            name: {k: None if v != v else v for k, v in vars(told).items()}
            for name, told in self.differences.items()
        }
        return {"equal": self.equal, **facts, "settings": self.settings, "differences": numbers}


def compare(a: Target, b: Target) -> Comparison:
    """Everything in which two runs or cells differ.

    Equal are sides of the same seeds, settings and code whose files have the same bytes; dates,
    machines and durations do not count.

    Raises: Refused when a side is no complete run or cell.
    """
    left, right = Side.of(a), Side.of(b)
    pairs = _pairs(left, right)
    found = Description(f"{left.name} | {right.name}", "")
    found.add("A", str(left.target.path))
    found.add("B", str(right.target.path))
    found.add("seeds", _seeds(left, right, pairs))
    settings = _settings(left.first()["settings"], right.first()["settings"])
    rows = [f"{key:34} {_text(a)} | {_text(b)}" for key, (a, b) in settings.items()]
    found.add("settings", rows or "equal")
    found.add("code", code_difference(left, right))
    found.add("versions", _versions(left.first(), right.first()))
    found.add("teacher", _teachers(left, right))
    files = _files(left, right, pairs)
    found.add("files", files or "the same bytes in every file of every pair")
    differences = {
        metric: difference(_values(left, metric), _values(right, metric), pairs)
        for metric in METRICS
        if _values(left, metric) and _values(right, metric)
    }
    found.add("numbers", _numbers(left, right, differences))
    found.add("curves", [_parting(left, right, *pair) for pair in pairs])
    found.add("predictions", _agreement(left, right, pairs))
    same_code = {_code(card) for card in left.cards.values()} == {
        _code(card) for card in right.cards.values()
    }
    same_seeds = list(left.cards) == list(right.cards)
    equal = not settings and not files and same_code and same_seeds
    return Comparison(equal, found, settings, differences)


def _pairs(left: Side, right: Side) -> list[tuple[int, int]]:
    """Seeds that are held side by side: equal ones; two single runs whatever their seeds."""
    if left.target.run and right.target.run:
        return [(left.target.run.seed, right.target.run.seed)]
    return [(seed, seed) for seed in left.cards if seed in right.cards]


def _seeds(left: Side, right: Side, pairs: list[tuple[int, int]]) -> str:
    both = [f"A {span(list(left.cards))}", f"B {span(list(right.cards))}"]
    if not pairs:
        return f"{', '.join(both)}: none in common, so nothing is paired"
    return f"{', '.join(both)}; {len(pairs)} pair{'s' if len(pairs) > 1 else ''}"


def flat(content: Any, *where: str) -> dict[str, Any]:
    """`{"recipe": {"lr": 0.1}}` as `{"recipe.lr": 0.1}`."""
    if not isinstance(content, Mapping) or not content:
        return {".".join(where): content}
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, *where, str(key))
    return found


def _settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ; one that a side lacks is None there."""
    ours, theirs = flat(a), flat(b)
    keys = dict.fromkeys([*ours, *theirs])
    return {k: (ours.get(k), theirs.get(k)) for k in keys if ours.get(k) != theirs.get(k)}


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _code(card: Mapping[str, Any]) -> str:
    return str(card["fingerprint"]).partition("-")[0]


def code_difference(left: Side, right: Side) -> list[str] | str:
    """`the same`, or digests and commits, and the modules in which they differ."""
    ours, theirs = ({_code(c): c for c in side.cards.values()} for side in (left, right))
    if set(ours) == set(theirs):
        return f"the same ({', '.join(ours)})"
    rows = []
    for name, versions in (("A", ours), ("B", theirs)):
        commits = [f"{digest} (commit {card.get('commit')})" for digest, card in versions.items()]
        rows.append(f"{name} {', '.join(commits)}")
    if len(ours) == len(theirs) == 1:
        known = [
            code.modules(side.target.layout, digest)
            for side, digest in ((left, *ours), (right, *theirs))
        ]
        if None in known:
            rows.append("by module: not written down for both")
        else:
            rows.append(f"modules that differ: {', '.join(code.difference(*known))}")
    return rows


def _versions(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str] | str:
    kept = ("versions", "engine", "processor")
    ours, theirs = ({name: card.get(name) for name in kept} for card in (a, b))
    found = {k: both for k, both in _settings(ours, theirs).items() if k != "engine.why"}
    return [f"{k:34} {_text(a)} | {_text(b)}" for k, (a, b) in found.items()] or "equal"


def _teachers(left: Side, right: Side) -> str:
    named = [side.first()["settings"].get("teacher") for side in (left, right)]
    if named == [None, None]:
        return "none on either side"
    texts = [_teacher(side, told) for side, told in zip((left, right), named, strict=True)]
    return f"equal: {texts[0]}" if texts[0] == texts[1] else f"A {texts[0]}; B {texts[1]}"


def _teacher(side: Side, told: Mapping[str, Any] | None) -> str:
    """Cell, seed, and which weights lie there now."""
    if told is None:
        return "none"
    cell = Cell(**told["cell"])
    seed = next(iter(side.cards)) if told["seed"] is None else told["seed"]
    who = f"{cell}, " + ("the student's seed" if told["seed"] is None else f"seed {seed}")
    try:
        digest = cards.read(side.target.layout.run(Run(cell, seed)))["files"]["weights.safetensors"]
    except (Refused, KeyError):
        return f"{who}, no longer there"
    return f"{who}, weights {digest[:12]}"


def _files(left: Side, right: Side, pairs: list[tuple[int, int]]) -> list[str]:
    """Files whose bytes differ, with the pairs in which they do."""
    found: dict[str, list[str]] = {}
    for a, b in pairs:
        ours, theirs = left.cards[a]["files"], right.cards[b]["files"]
        for name in dict.fromkeys([*ours, *theirs]):
            if ours.get(name) != theirs.get(name):
                found.setdefault(name, []).append(_pair(a, b))
    return [f"{name:20} differs: {', '.join(where)}" for name, where in found.items()]


def _pair(a: int, b: int) -> str:
    return f"seed {a}" if a == b else f"seed {a} | seed {b}"


def _values(side: Side, metric: str) -> dict[int, float]:
    return {seed: found[metric] for seed, found in side.metrics.items() if metric in found}


def _numbers(left: Side, right: Side, differences: Mapping[str, Difference]) -> list[str]:
    """Means of both sides, and the difference B − A with its 95 % interval."""
    rows = [f"{'':12} {'A':>9} {'B':>9}   B − A, 95 % interval"]
    for metric, told in differences.items():
        factor, unit = (100, "points") if metric in FRACTIONS else (1, "")
        a, b = (fmean(_values(side, metric).values()) * factor for side in (left, right))
        rows.append(f"{metric:12} {a:9.4g} {b:9.4g}   {_interval(told, factor, unit)}")
    return rows


def _interval(told: Difference, factor: float, unit: str) -> str:
    text = f"{factor * told.mean:+.3g}"
    if told.low == told.low:  # not nan
        text += f" [{factor * told.low:+.3g}, {factor * told.high:+.3g}]"
    return f"{text} {unit}".rstrip() + f" ({told.why})"


def _parting(left: Side, right: Side, a: int, b: int) -> str:
    """The first epoch in which the histories of two runs differ, and in what."""
    paths = [left.folder(a) / "history.csv", right.folder(b) / "history.csv"]
    if not all(path.exists() for path in paths):
        return f"{_pair(a, b)}: not both have a history"
    ours, theirs = map(cells.read_history, paths)
    for x, y in zip(ours, theirs, strict=False):
        names = [n for n in x if n in y and x[n] != y[n] and not (x[n] != x[n] and y[n] != y[n])]
        if names:
            shown = ", ".join(f"{n} {_short(x[n])} | {_short(y[n])}" for n in names[:3])
            return f"{_pair(a, b)}: part in epoch {x['epoch']:.0f}: {shown}"
    if len(ours) != len(theirs):
        return f"{_pair(a, b)}: alike for {min(len(ours), len(theirs))} epochs, then one ends"
    return f"{_pair(a, b)}: alike in all {len(ours)} epochs"


def _short(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _agreement(left: Side, right: Side, pairs: list[tuple[int, int]]) -> list[str]:
    """How often both, one or none is right, and whether one side wins more often than by chance."""
    rows = []
    for a, b in pairs:
        files = [side.folder(seed) / "predictions.npz" for side, seed in ((left, a), (right, b))]
        if any(is_committed(file) and not file.exists() for file in files):
            rows.append(f"{_pair(a, b)}: the committed files leave predictions out")
            continue
        ours, theirs = map(read_npz, files)
        if not np.array_equal(ours["labels"], theirs["labels"]):
            rows.append(f"{_pair(a, b)}: of other images, so predictions are not compared")
            continue
        rows.append(f"{_pair(a, b)}: {agreement(ours, theirs)}")
    return rows
