"""One training job: the seeds of a cell that are not complete yet."""

import contextlib
import signal
from pathlib import Path
from typing import Any

import torch

from xkd import methods
from xkd.engine import backends, memory, outputs
from xkd.engine.backends import Choice
from xkd.engine.build import parameter_count
from xkd.engine.cell_data import CellData, data_digest
from xkd.engine.job import Job
from xkd.engine.options import EngineOptions
from xkd.engine.progress import Bars, Lines, Silence, watch
from xkd.engine.runtime import Runtime
from xkd.engine.stopping import RESUMABLE, Stop, Stopped
from xkd.engine.teacher import Teachers
from xkd.engine.team import Team, assemble
from xkd.errors import Refused
from xkd.evaluate import weights_digest
from xkd.files import plain
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings
from xkd.records.lock import locked

AFFECTS_RESULTS = False


def train_cell(
    settings: CellSettings,
    *,
    data: Path,
    layout: Layout,
    code: str,
    table: Path | None = None,
    options: EngineOptions | None = None,
) -> int:
    """Train every seed that is not complete; leave the cell's manifest last.

    A seed is complete if its run card bears the fingerprint of this code, these settings, this
    data and this teacher, and its files are as they were written. What one seed leaves does not
    depend on the others, nor on how many are trained together.

    Args:
        data: folder of the prepared data set.
        code: digest of the source code that results depend on.
        table: the teacher's logits for every view; without it the teacher runs at every step.
    Returns: 0, or 75 (RESUMABLE) if SIGTERM came and checkpoints were left.
    Raises:
        Refused if another job writes this cell, files are damaged, the cell does not fit into
        memory, or seeds failed: those that did not fail have their results then.
        KeyboardInterrupt after SIGINT, once checkpoints are left.
    """
    options, cell, team = options or EngineOptions(), settings.cell, assemble()
    _refuse_parts_of_batches(settings, team)
    with (
        _alone(team, layout, cell),
        contextlib.closing(_watch(team, layout, cell)) as progress,
        Stop() as stop,
    ):
        runtime = Runtime.of(options)
        known = settings, data, layout, code, options.arithmetic, team.size
        fingerprints, missing = team.broadcast(_left_to_do(*known) if team.is_leader else ({}, []))
        if team.is_leader:
            outputs.sweep(layout, cell)
        if kept := len(settings.seeds) - len(missing):
            progress.say(f"{kept} of {len(settings.seeds)} seeds are complete and stay as they are")
        if missing:
            progress.begin(missing, len(settings.seeds))
            runtime.prepare()
            streamed = settings.dataset.resized_crop
            choice = backends.choose(options, len(missing), runtime.on_cuda, team.size, streamed)
            workers = max(0, options.threads // team.size - 1)
            cell_data = CellData.of(settings, data, runtime, workers)
            teachers = Teachers(settings, layout, table, cell_data, runtime, options)
            at_once, forked = choice.at_once(len(missing), options), choice.name == "procs"
            job = Job(
                settings, missing, layout, cell_data, teachers, runtime, options, fingerprints,
                _card(settings, runtime, options, teachers), progress, stop, team,
                in_memory=_check_memory(
                    settings, cell_data, teachers, at_once, team.size, forked
                ),
            )  # fmt: skip
            choice = backends.calibrated(choice, job)
            job.card["engine"] |= choice.describe()
            progress.say(
                f"training seeds {', '.join(map(str, missing))} by {choice.name} ({choice.why})"
                + (f"; teacher {teachers.describe()}" if teachers.kind != "none" else "")
            )
            try:
                _train(job, choice)
            except Stopped as stopped:
                progress.say(f"{stopped}; checkpoints are left, the same command continues")
                if stopped.signal == signal.SIGINT:
                    raise KeyboardInterrupt from None
                return RESUMABLE
        if team.is_leader:
            outputs.write_manifest(settings, layout, parameter_count(settings))
    return 0


def _refuse_parts_of_batches(settings: CellSettings, team: Team) -> None:
    if team.size > 1 and methods.load(settings.method.uses).WHOLE_BATCH:
        raise Refused(
            f"cell {settings.cell}: method '{settings.method.name}' compares the images of a whole "
            f"batch, and torchrun started {team.size} processes to share it; start without torchrun"
        )


def _alone(team: Team, layout: Layout, cell: Cell) -> contextlib.AbstractContextManager:
    """Nobody else writes this cell; the leader holds the lock for its team."""
    if not team.is_leader:
        return contextlib.nullcontext()
    return locked(layout.lock(cell), f"cell {cell}")


def _watch(team: Team, layout: Layout, cell: Cell) -> Lines | Bars | Silence:
    """The leader's progress, on the terminal and in a file."""
    return watch(str(cell), layout.progress(cell)) if team.is_leader else Silence()


def _train(job: Job, choice: Choice) -> None:
    """Raises Refused for the seeds that failed, after all others are done."""
    try:
        failures = choice.module.train(job)
    except torch.OutOfMemoryError as problem:
        raise Refused(
            f"cell {job.settings.cell}: the GPU's memory is full ({str(problem).splitlines()[0]}); "
            "take backend 'loop', which trains one seed at a time, or a smaller batch"
        ) from None
    if failures:
        raise Refused(
            f"cell {job.settings.cell}: {len(failures)} of {len(job.settings.seeds)} seeds failed, "
            f"the others are complete: {'; '.join(failures.values())}"
        )


def _left_to_do(
    settings: CellSettings, data: Path, layout: Layout, code: str, arithmetic: str, processes: int
) -> tuple[dict[int, str], list[int]]:
    """Fingerprints per seed, and the seeds that are not complete.

    Raises: Refused if the data or a teacher are not complete.
    """
    digest = data_digest(data)
    found = {}
    for seed in settings.seeds:
        teacher = None
        if settings.teacher is not None:
            run = Run(settings.teacher.cell, settings.teacher.seed_for(seed))
            teacher = weights_digest(layout.run(run))
        found[seed] = outputs.fingerprint(settings, code, digest, teacher, arithmetic, processes)
    missing = [
        seed
        for seed, expected in found.items()
        if not outputs.complete(layout.run(Run(settings.cell, seed)), expected)
    ]
    return found, missing


def _check_memory(
    settings: CellSettings,
    cell_data: CellData,
    teachers: Teachers,
    at_once: int,
    processes: int,
    forked: bool,
) -> int:
    """How many seeds may be in memory, if more of them than `at_once` are begun.

    Args:
        processes: among which every batch is shared; forked: whether every seed has its own.
    Raises: Refused if not even these fit.
    """
    taught = teachers(settings.seeds[0])
    shared = cell_data.bytes + teachers.bytes
    labels = cell_data.train.labels
    needed = memory.estimate(settings, taught and taught.network, shared, processes, labels)
    needed = needed._replace(seed=needed.seed + memory.FORKED * forked)
    memory.require(settings, needed, at_once, teachers.runtime)
    return max(at_once, memory.room(needed, teachers.runtime))


def _card(
    settings: CellSettings,
    runtime: Runtime,
    options: EngineOptions,
    teachers: Teachers,
) -> dict[str, Any]:
    """What the run cards say besides fingerprint, duration, files and the choice of backend."""
    return {
        "settings": plain(settings.slice()),
        "teacher": teachers.kind,
        "engine": {
            "precision": options.precision,
            "compile": options.compile,
            "device": runtime.describe(),
        },
        **outputs.circumstances(),
    }
