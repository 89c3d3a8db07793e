"""`<device>.json` and `<device>.md`: what was measured, where, and against which target."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from xkd.bench.measuring import Figure, Spread, Target
from xkd.engine.outputs import circumstances
from xkd.engine.runtime import Runtime
from xkd.files import read_json, write_json, write_text

UNITS = {"speed": "×", "cost": "×", "memory": " GiB", "operations": ""}


@dataclass(frozen=True)
class Line:
    """row, name: what to ask `xkd bench --rows` for, and which of its candidates this is."""

    row: str
    name: str
    target: Target
    figure: Figure


def machine(runtime: Runtime) -> dict[str, Any]:
    """Where, when, with which versions; how busy the machine was, in processes waiting to run."""
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": runtime.describe(),
        **circumstances(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    return found | ({"cuda": torch.version.cuda} if runtime.on_cuda else {})


def write(folder: Path, name: str, about: dict[str, Any], lines: Iterable[Line]) -> None:
    """Both files, each whole or not at all."""
    lines = list(lines)
    content = {**about, "lines": [record(line) for line in lines]}
    write_json(folder / f"{name}.json", content)
    write_text(folder / f"{name}.md", page(about, lines))


def is_longer(file: Path) -> bool:
    """Whether the file was left by more than a quick look."""
    return file.exists() and not read_json(file).get("quick", False)


def record(line: Line) -> dict[str, Any]:
    """One line as JSON. Ratios and GiB; seconds per step."""
    target, figure = line.target, line.figure
    spreads = {"value": figure.value, "peer_s": figure.peer, "ours_s": figure.candidate}
    return {
        "row": line.row,
        "name": line.name,
        "ours": target.ours,
        "against": target.against,
        "kind": target.kind,
        "target": target.bound,
        "met": target.met(figure.value.median),
        "rounds": figure.rounds,
        **{key: spread and spread._asdict() for key, spread in spreads.items()},
    }


def page(about: dict[str, Any], lines: list[Line]) -> str:
    """A table in Markdown, and a second one of the lines without target."""
    versions = about["versions"]
    load = " ".join(map(str, about["load"]))
    text = [
        f"# Speed of the engine: {about['device']}",
        "",
        f"{about['date']}, commit {about['commit']}: {about['processor']}, {about['cores']} cores, "
        f"{about['instructions']}; Python {versions['python']}, torch {versions['torch']}"
        + (f", CUDA {about['cuda']}" if "cuda" in about else "")
        + f"; load {load} before.",
        "",
        f"{about['how']} "
        + ("One quick round." if about["quick"] else "Medians over rounds, quartiles in brackets."),
    ]
    promised = [line for line in lines if line.target.bound is not None]
    for heading, chosen in (
        ("| ours | against | measured | target | |", promised),
        ("| ours | against | measured |", [line for line in lines if line not in promised]),
    ):
        if chosen:
            columns = heading.count("|") - 1
            text += ["", heading, "|" + "---|" * columns, *map(tabular, chosen)]
    return "\n".join(text) + "\n"


def tabular(line: Line) -> str:
    """A row of Markdown."""
    target, figure = line.target, line.figure
    cells = [
        times(target.ours, figure.candidate),
        times(target.against, figure.peer),
        measured(line),
    ]
    if target.bound is not None:
        cells += [promise(target), "met" if target.met(figure.value.median) else "missed"]
    return f"| {' | '.join(cells)} |"


def measured(line: Line) -> str:
    """`1.52× [1.50, 1.55]`."""
    value, unit = line.figure.value, UNITS[line.target.kind]
    if line.target.kind == "operations":
        return f"{value.median:.0f}"
    spread = f" [{value.low:.2f}, {value.high:.2f}]" if line.figure.rounds > 1 else ""
    return f"{value.median:.2f}{unit}{spread}"


def spoken(line: Line) -> str:
    """The same for a terminal."""
    target, figure = line.target, line.figure
    promised = "" if target.bound is None else f"  (target {promise(target)})"
    sides = f"{times(target.ours, figure.candidate)}; {times(target.against, figure.peer)}"
    return f"{line.row:16} {measured(line):24}{promised}  {sides}"


def promise(target: Target) -> str:
    """`≥ 1.5×`, `≤ 3 GiB`."""
    return f"{'≥' if target.kind == 'speed' else '≤'} {target.bound:g}{UNITS[target.kind]}"


def times(what: str, seconds: Spread | None) -> str:
    """`naive loop, 165 ms`."""
    if seconds is None:
        return what
    return f"{what}, {1000 * seconds.median:.3g} ms"
