"""Descriptions of results as lines for a terminal, or as JSON."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from statistics import fmean

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
        found = [self.title, *([f"  {self.path}"] if self.path else [])]
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
    parts = [values[start:end] for start, end in pairwise(edges)]
    means = [fmean(part) for part in parts]
    finite = [mean for mean in means if isfinite(mean)]
    if not finite:
        return "·" * count
    low, span = min(finite), max(finite) - min(finite)
    return "".join(
        BARS[round((mean - low) / span * (len(BARS) - 1)) if span else 0] if isfinite(mean) else "·"
        for mean in means
    )
