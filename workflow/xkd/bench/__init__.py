"""`xkd bench`: how fast the engine is, beside loops written the way the field writes them."""

import os
import re
import sys
from pathlib import Path

from xkd.errors import Refused, unknown

BUSY = 0.5  # processes that wait to run, on average of the last minute


def run(device: str, rows: list[str] | None, quick: bool, out: Path) -> int:
    """Measure, print as it goes, and leave `<device>.json` and `<device>.md` in the folder `out`.

    Args:
        device: cpu, cuda, or auto. The files of a CUDA device bear the name of the card.
        rows: names of what to measure; all by default, or all that take seconds if `quick`. Files
            of less than everything are called `<device>-partial`.
        quick: less work and fewer rounds: a look, no measurement. On a GPU it has all lines, takes
            less than a minute, and never takes the place of a longer look's files.
    Returns: 0, whether targets were met or not.
    Raises: Refused for an unknown row, or CUDA where there is none.
    """
    import torch

    from xkd.bench import cuda, report
    from xkd.bench import rows as cpu
    from xkd.bench.measuring import Clock
    from xkd.bench.synthetic import BenchCells
    from xkd.engine.options import EngineOptions
    from xkd.engine.runtime import Runtime

    runtime = Runtime.of(EngineOptions(device=device))
    bench = cuda if runtime.on_cuda else cpu
    if strange := [name for name in rows or () if name not in bench.ROWS]:
        raise Refused(unknown("row", strange[0], bench.ROWS))
    chosen = rows or [name for name, row in bench.ROWS.items() if not (quick and row.slow)]
    torch.set_num_threads(1)
    if (load := os.getloadavg()[0]) > BUSY:
        say(
            f"the machine is busy (load {load:.1f}); ratios of processor time are still fair, "
            "those of the wall are not"
        )
    scale, seconds = (bench.QUICK, bench.QUICK_SECONDS) if quick else (bench.SCALE, bench.SECONDS)
    cells = BenchCells(runtime.device.type, scale, Clock(seconds))
    about = {**report.machine(runtime), "how": bench.HOW, "quick": quick}
    lines, hurried = [], False
    for name in chosen:
        row = bench.ROWS[name]
        figures = row(cells)
        if missing := ", ".join(sorted(row.targets.keys() - figures.keys())):
            hurried |= cells.clock.over
            why = "for want of time" if cells.clock.over else "on this machine"
            say(f"{name} cannot be measured {why} ({missing})")
        for candidate, figure in figures.items():
            lines.append(report.Line(name, candidate, row.targets[candidate], figure))
            say(report.spoken(lines[-1]))
    slug = re.sub(r"\W+", "-", runtime.describe().lower())
    whole = set(chosen) == set(bench.ROWS) and not hurried
    if quick:
        whole &= bench is cuda and not report.is_longer(out / f"{slug}.json")
    report.write(out, slug if whole else f"{slug}-partial", about, lines)
    return 0


def say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)
