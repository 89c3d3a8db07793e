"""Whole cells of five seeds, trained by the engine's backends in a temporary folder."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from xkd.bench.measuring import PEER, Figure, Spread, Target, alternate, compare
from xkd.bench.synthetic import RESNET8, RESNET20, BenchCells, Scale
from xkd.engine import backends
from xkd.engine.job import Job
from xkd.engine.options import EngineOptions
from xkd.engine.progress import Place, Record
from xkd.engine.runtime import Runtime
from xkd.engine.stopping import Stop, Stopped
from xkd.plan.runs import Layout
from xkd.plan.settings import CellSettings

EPOCHS, STEPS = 4, 6  # of every seed, in cells that are timed as a whole; steps of an epoch


class Watch:
    """Somebody to tell about progress, who notes when epochs end."""

    def __init__(self) -> None:
        self.ends: dict[int, list[float]] = {}

    def say(self, line: str) -> None: ...

    def step(self, seed: int, place: Place) -> None: ...

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        self.ends.setdefault(seed, []).append(time.monotonic())

    def seconds_after_first_epoch(self) -> float:
        """Wall time in which some seed was past its first epoch, which warms up and captures."""
        spans = sorted((ends[0], ends[-1]) for ends in self.ends.values())
        total, until = 0.0, 0.0
        for first, last in spans:
            total += max(0.0, last - max(first, until))
            until = max(until, last)
        return total


def train(cells: BenchCells, settings: CellSettings, options: EngineOptions, watch: Watch) -> None:
    """All seeds, from their start to their files, or until SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="xkd-bench-") as folder, Stop() as stop:
        job = cell_job(cells, settings, options, watch, Path(folder), stop)
        choice = backends.choose(options, len(settings.seeds), job.runtime.on_cuda)
        job.card["engine"]["backend"] = choice.name
        with suppress(Stopped):
            if failures := choice.module.train(job):
                raise RuntimeError("; ".join(failures.values()))
    engine = job.card["engine"]
    if engine["backend"] != choice.name:
        raise RuntimeError(f"backend {choice.name} gave up: {engine['why']}")


def cell_job(
    cells: BenchCells,
    settings: CellSettings,
    options: EngineOptions,
    watch: Watch,
    folder: Path,
    stop: Stop,
) -> Job:
    """A cell's training job on synthetic images, which leaves its files below `folder`."""
    runtime = Runtime.of(options)
    runtime.prepare()
    cell_data = cells.cell_data(settings.dataset, runtime)
    teacher = cells.teacher(settings, runtime)
    card: dict[str, Any] = {"engine": {}}
    return Job(
        settings, list(settings.seeds), Layout(folder), cell_data, lambda seed: teacher, runtime,
        options, dict.fromkeys(settings.seeds, "bench"), card, watch, stop,
    )  # fmt: skip


class CellApart:
    """A side whose step is a whole cell, in a process of its own, timed by the wall."""

    def __init__(self, cells: BenchCells, settings: CellSettings, options: EngineOptions) -> None:
        self.arguments = cells, settings, options

    def measure(self, steps: int) -> float:
        began = time.monotonic()
        for _ in range(steps):
            process = start(*self.arguments, Watch())
            process.join()
            if process.exitcode:
                raise RuntimeError(f"the process of a cell ended with status {process.exitcode}")
        return (time.monotonic() - began) / steps

    def close(self) -> None: ...


def start(*arguments: Any) -> ForkProcess:
    """`train` in a new process."""
    process = get_context("fork").Process(target=train, args=arguments)
    process.start()
    return process


def five_on_two_cores(cells: BenchCells, targets: Mapping[str, Target]) -> dict[str, Figure]:
    """One-thread processes, two at work, against one seed after another with two threads."""
    if (os.cpu_count() or 1) < 2:
        return {}
    small = cells.smaller(STEPS)
    settings = small.settings("ce", RESNET8)
    settings = replace(settings, recipe=replace(settings.recipe, epochs=EPOCHS))
    small.warm(settings)
    ways = {
        PEER: EngineOptions("loop", device="cpu", threads_per_seed=2),
        "procs": EngineOptions("procs", device="cpu", threads=2),
    }
    sides = {name: CellApart(small, settings, options) for name, options in ways.items()}
    return compare(alternate(sides, cells.scale.effort), targets)


def memory(cells: BenchCells, targets: Mapping[str, Target]) -> dict[str, Figure]:
    """Most memory that five seeds take, as many at a time as a target's name says.

    A page that processes share counts once.
    """
    if not proportional_set(os.getpid()):
        return {}
    scale = replace(cells.scale, scored=min(10_000, cells.scale.images))
    figures = {}
    for name in targets:
        # Not forked: what this process holds is not the cell's.
        process = get_context("spawn").Process(target=train_briefly, args=(scale, int(name)))
        process.start()
        most = 0
        while process.is_alive():
            most = max(most, sum(map(proportional_set, family(process.pid))))
            process.join(0.05)
        if process.exitcode:
            raise RuntimeError(f"the process of a cell ended with status {process.exitcode}")
        figures[name] = Figure(Spread.of([most / 2**30]), 1)
    return figures


def train_briefly(scale: Scale, at_once: int) -> None:
    """Some steps of ResNet-20 on CIFAR-10."""
    cells = BenchCells("cpu", scale)
    settings = cells.settings("ce", RESNET20)
    options = EngineOptions("procs", device="cpu", threads=at_once)
    cells.warm(settings)
    cells.pictures.cache_clear()  # a cell does not keep what it made its batches' source of
    train(cells, settings, options, StopsEarly(at_once))


class StopsEarly(Watch):
    """Asks its own process to stop once every seed has taken some steps."""

    def __init__(self, seeds: int, steps: int = 3) -> None:
        super().__init__()
        self.seeds, self.steps, self.ready = seeds, steps, set()

    def step(self, seed: int, place: Place) -> None:
        if place.position >= self.steps:
            self.ready.add(seed)
        if len(self.ready) == self.seeds:
            os.kill(os.getpid(), signal.SIGTERM)


def family(process: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield process
    with suppress(OSError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            yield from family(int(child))


def proportional_set(process: int) -> int:
    """Bytes in memory; a page shared by n processes counts 1/n for each."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0
