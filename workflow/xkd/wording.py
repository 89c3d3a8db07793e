"""Numbers and settings in words: the same everywhere that a terminal shows them."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

AFFECTS_RESULTS = False


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
    if seeds and seeds == list(range(seeds[0], seeds[-1] + 1)):
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


def size(count: float) -> str:
    """`1.2 MB`."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
