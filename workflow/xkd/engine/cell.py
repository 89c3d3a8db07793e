"""One training job: the seeds of a cell that are not complete yet."""

import signal
from pathlib import Path

from xkd.artifacts import read_json
from xkd.data.prepare import DATA, MANIFEST
from xkd.engine import backends, outputs
from xkd.engine.build import parameter_count
from xkd.engine.job import Job
from xkd.engine.lock import locked
from xkd.engine.material import Material
from xkd.engine.options import EngineOptions
from xkd.engine.progress import Lines
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

    A seed is complete if its run card bears the fingerprint of this code, these settings, this data
    and this teacher, and its files are as they were written. What one seed leaves does not depend on
    the others, nor on how many are trained together.

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
    fingerprints = _fingerprints(settings, data, layout, code, options.precision)
    progress = Lines(str(cell), settings.recipe.epochs)
    with locked(layout.cell(cell) / ".resume" / "lock", f"cell {cell}"), Stop() as stop:
        missing = [
            seed
            for seed in settings.seeds
            if not outputs.complete(layout.run(Run(cell, seed)), fingerprints[seed])
        ]
        if len(missing) < len(settings.seeds):
            kept = len(settings.seeds) - len(missing)
            progress.say(f"{kept} of {len(settings.seeds)} seeds are complete and stay as they are")
        if missing:
            runtime.prepare()
            material = Material.of(settings, data, runtime)
            teachers = Teachers(settings, layout, table, material, runtime, options)
            choice = backends.choose(options, len(missing), runtime.on_cuda)
            progress.say(f"training seeds {missing} by {choice.name} ({choice.why})")
            card = {
                "settings": _plain(settings.slice()),
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
            job = Job(
                settings, missing, layout, material, teachers, runtime, options, fingerprints,
                card, progress, stop,
            )  # fmt: skip
            try:
                failures = choice.module.train(job)
            except Stopped as stopped:
                progress.say(f"{stopped}; checkpoints are left, the same command continues")
                if stopped.signal == signal.SIGINT:
                    raise KeyboardInterrupt from None
                return RESUMABLE
            if failures:
                raise Refused(
                    f"cell {cell}: {len(failures)} of {len(settings.seeds)} seeds failed, the "
                    f"others are complete: {'; '.join(failures.values())}"
                )
        outputs.write_manifest(settings, layout, parameter_count(settings))
    return 0


def _fingerprints(
    settings: CellSettings, data: Path, layout: Layout, code: str, precision: str
) -> dict[int, str]:
    """Per seed. Raises Refused if a teacher is not complete."""
    digest = read_json(data / MANIFEST)["digests"][DATA]
    found = {}
    for seed in settings.seeds:
        teacher = None
        if settings.teacher is not None:
            run = Run(settings.teacher.cell, settings.teacher.seed_for(seed))
            teacher = weights_digest(layout.run(run))
        found[seed] = outputs.fingerprint(settings, code, digest, teacher, precision)
    return found


def _plain(content: object) -> object:
    """The same without tuples, which YAML would write in a dialect of Python."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content
