"""Descriptions of results as lines for a terminal, or as JSON."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean, stdev
from typing import Any

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 100
LABEL = 13  # columns of a fact's name


@dataclass
class Description:
    """What is known of a result: one title, then named facts, each of one or more lines."""

    title: str
    path: str
    facts: dict[str, str | list[str]] = field(default_factory=dict)

    def add(self, name: str, fact: str | Iterable[str] | None) -> None:
        """Append a fact, unless there is nothing to say."""
        fact = fact if isinstance(fact, str) or fact is None else list(fact)
        if fact:
            self.facts[name] = fact

    def lines(self) -> list[str]:
        """For a terminal; long facts are wrapped, those that come as lines are not."""
        found = [self.title, f"  {self.path}"] if self.path != self.title else [self.title]
        for name, fact in self.facts.items():
            rows = fact
            if isinstance(fact, str):
                rows = textwrap.wrap(fact, WIDTH - LABEL - 3, break_on_hyphens=False)
            for number, row in enumerate(rows):
                found.append(f"  {name if number == 0 else '':{LABEL}} {row}".rstrip())
        return found

    def json(self) -> str:
        content = {"title": self.title, "path": self.path, **self.facts}
        return json.dumps(content, indent=1, ensure_ascii=False)


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A curve in one line of blocks, from its least to its greatest value; at most `width` long.

    Longer curves are averaged over neighbouring values; what is not finite is shown as `·`.
    """
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)] if count else []
    parts = [values[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    means = [fmean(part) for part in parts]
    finite = [mean for mean in means if isfinite(mean)]
    if not finite:
        return "·" * count
    low, span = min(finite), max(finite) - min(finite)
    return "".join(
        BARS[round((mean - low) / span * (len(BARS) - 1)) if span else 0] if isfinite(mean) else "·"
        for mean in means
    )


def percent(fraction: float, digits: int = 2) -> str:
    """`94.48`: fractions are stored in [0, 1] and shown in percent."""
    return f"{100 * fraction:.{digits}f}"


def spread(fractions: Sequence[float]) -> str:
    """`94.48 ± 1.19 %`: mean and sample standard deviation; one value alone has no ±."""
    if len(fractions) < 2:
        return f"{percent(fractions[0])} %"
    return f"{percent(fmean(fractions))} ± {percent(stdev(fractions))} %"


def span(seeds: Sequence[int]) -> str:
    """`seed 3`, `seeds 0-4`, `seeds 0, 2`."""
    seeds = sorted(seeds)
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def settings(content: Any) -> str:
    """`epochs 5, batch 64, milestones [3, 4], weights {ce 0.1}`, without what is unset."""
    if isinstance(content, dict):
        kept = {k: v for k, v in content.items() if v is not None and v != {} and v != []}
        return ", ".join(f"{key} {_value(value)}" for key, value in kept.items())
    return _value(content)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{settings(value)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def size(count: int) -> str:
    """`1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
