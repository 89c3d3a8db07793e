"""One training job: the seeds of a cell that are not complete yet."""

import contextlib
import signal
from pathlib import Path
from typing import Any

import torch

from xkd.engine import backends, memory, outputs
from xkd.engine.backends import Choice
from xkd.engine.build import parameter_count
from xkd.engine.job import Job
from xkd.engine.lock import locked
from xkd.engine.material import Material, data_digest
from xkd.engine.options import EngineOptions
from xkd.engine.progress import watch
from xkd.engine.runtime import Runtime
from xkd.engine.stopping import RESUMABLE, Stop, Stopped
from xkd.engine.teacher import Teachers
from xkd.errors import Refused
from xkd.evaluate import weights_digest
from xkd.runs import Layout, Run
from xkd.settings import CellSettings

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
    options = options or EngineOptions()
    runtime, cell = Runtime.of(options), settings.cell
    with (
        locked(layout.cell(cell) / ".resume" / "lock", f"cell {cell}"),
        contextlib.closing(watch(str(cell))) as progress,
        Stop() as stop,
    ):
        fingerprints = _fingerprints(settings, data, layout, code, options.precision)
        missing = [
            seed
            for seed, expected in fingerprints.items()
            if not outputs.complete(layout.run(Run(cell, seed)), expected)
        ]
        if kept := len(settings.seeds) - len(missing):
            progress.say(f"{kept} of {len(settings.seeds)} seeds are complete and stay as they are")
        if missing:
            runtime.prepare()
            material = Material.of(settings, data, runtime)
            teachers = Teachers(settings, layout, table, material, runtime, options)
            choice = backends.choose(options, len(missing), runtime.on_cuda)
            _check_memory(settings, material, teachers, choice.at_once(len(missing), options))
            progress.say(
                f"training seeds {', '.join(map(str, missing))} by {choice.name} ({choice.why})"
                + (f"; teacher {teachers.describe()}" if teachers.kind != "none" else "")
            )
            card = _card(settings, runtime, options, choice, teachers)
            job = Job(
                settings, missing, layout, material, teachers, runtime, options, fingerprints,
                card, progress, stop,
            )  # fmt: skip
            try:
                _train(job, choice)
            except Stopped as stopped:
                progress.say(f"{stopped}; checkpoints are left, the same command continues")
                if stopped.signal == signal.SIGINT:
                    raise KeyboardInterrupt from None
                return RESUMABLE
        outputs.write_manifest(settings, layout, parameter_count(settings))
    return 0


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


def _fingerprints(
    settings: CellSettings, data: Path, layout: Layout, code: str, precision: str
) -> dict[int, str]:
    """Per seed. Raises Refused if the data or a teacher are not complete."""
    digest = data_digest(data)
    found = {}
    for seed in settings.seeds:
        teacher = None
        if settings.teacher is not None:
            run = Run(settings.teacher.cell, settings.teacher.seed_for(seed))
            teacher = weights_digest(layout.run(run))
        found[seed] = outputs.fingerprint(settings, code, digest, teacher, precision)
    return found


def _check_memory(
    settings: CellSettings, material: Material, teachers: Teachers, at_once: int
) -> None:
    taught = teachers(settings.seeds[0])
    needed = memory.estimate(settings, taught and taught.network, material.bytes + teachers.bytes)
    memory.require(settings, needed, at_once, teachers.runtime)


def _card(
    settings: CellSettings,
    runtime: Runtime,
    options: EngineOptions,
    choice: Choice,
    teachers: Teachers,
) -> dict[str, Any]:
    """What the run cards say besides fingerprint, duration and files."""
    return {
        "settings": outputs.plain(settings.slice()),
        "teacher": teachers.kind,
        "engine": {
            "backend": choice.name,
            "why": choice.why,
            "precision": options.precision,
            "compile": options.compile,
            "device": runtime.describe(),
        },
        **outputs.circumstances(),
    }
