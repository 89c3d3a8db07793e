"""One cell's training job, and the training of one of its seeds from start to files."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from xkd.engine.cell_data import CellData
from xkd.engine.options import EngineOptions
from xkd.engine.outputs import write_run
from xkd.engine.progress import Place, Record
from xkd.engine.runtime import Runtime
from xkd.engine.stopping import Stop, Stopped
from xkd.engine.teacher import TeacherSource
from xkd.engine.team import Team
from xkd.engine.training import Diverged, Training
from xkd.files import reading
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings
from xkd.records.checkpoint import Checkpoints

AFFECTS_RESULTS = False


class Progress(Protocol):
    """Somebody to tell; see `xkd.engine.progress.Lines`."""

    def say(self, line: str) -> None: ...
    def step(self, seed: int, place: Place) -> None: ...
    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None: ...


@dataclass
class Job:
    """What a backend needs to train a cell.

    seeds:        those not complete yet
    teacher:      seed of the student -> its teacher
    fingerprints: per seed, of code, settings, data and teacher
    card:         circumstances, for the run cards
    team:         the processes that train it together; every one has a job like this
    kind:         of training
    in_memory:    seeds that may be begun and not finished at the same time
    await_turn:   called with the epochs that a seed has completed, before every other; it returns
                  when the epoch may be trained
    """

    settings: CellSettings
    seeds: list[int]
    layout: Layout
    cell_data: CellData
    teacher: Callable[[int], TeacherSource | None]
    runtime: Runtime
    options: EngineOptions
    fingerprints: Mapping[int, str]
    card: dict[str, Any]
    progress: Progress
    stop: Stop
    team: Team = field(default_factory=Team)
    kind: Callable[..., Training] = Training
    in_memory: int = sys.maxsize
    await_turn: Callable[[int], None] = lambda epochs: None

    def checkpoints(self, seed: int) -> Checkpoints:
        path = self.layout.resume(Run(self.settings.cell, seed))
        # Random numbers of one kind of device cannot be continued on another.
        whose = f"{self.fingerprints[seed]} on {self.runtime.device.type}"
        return Checkpoints(path, whose, self.progress.say)

    def fresh(self, seed: int) -> Training:
        """A seed at its start."""
        return self.kind(self.settings, seed, self.cell_data, self.teacher(seed), self.runtime)

    def resume(self, training: Training) -> None:
        """Take a seed to where its last checkpoint left it, if there is one."""
        found = self.checkpoints(training.seed).load() if self.team.is_leader else None
        if (state := self.team.broadcast(found)) is not None:
            with reading(self.checkpoints(training.seed).path):
                training.restore(state)
            self.progress.say(f"seed {training.seed} continues after epoch {training.epoch}")

    def finish(self, training: Training) -> None:
        """Leave the files of a finished seed."""
        if not self.team.is_leader:
            return
        seed = training.seed
        folder = self.layout.run(Run(self.settings.cell, seed))
        card = {"run": str(Run(self.settings.cell, seed)), "fingerprint": self.fingerprints[seed]}
        write_run(training, folder, {**card, **self.card})
        self.checkpoints(seed).remove()

    def asked_to_stop(self) -> int | None:
        """The signal that came to this process or another of the team, if any."""
        return self.team.all_max(self.stop.requested or 0) or None


def train_seed(job: Job, seed: int) -> None:
    """Train one seed to its end, leaving checkpoints on the way and files at the end.

    Raises:
        Diverged if its loss is no longer a number.
        Stopped after a signal, once a checkpoint is left.
    """
    training = job.fresh(seed)
    job.resume(training)
    saving = CheckpointSchedule(job, training)
    try:
        while not training.finished:
            job.await_turn(training.epoch)
            saving.before_epoch()
            if training.order is None:
                training.begin_epoch()
            else:
                training.start_clock()
            while training.position < len(training.batches):
                training.advance()
                saving.after_step()
            training.end_epoch()
            saving.after_epoch()
    except Diverged as problem:
        raise saving.explain(problem) from None
    job.finish(training)


class CheckpointSchedule:
    """Between the steps of one seed: tell its progress, leave checkpoints, stop when asked to."""

    def __init__(self, job: Job, training: Training) -> None:
        self.job, self.training = job, training
        self.checkpoints = job.checkpoints(training.seed)
        self.period = 60 * job.options.checkpoint_minutes
        self.saved = time.monotonic()
        self.good = training.epoch  # epochs in the last checkpoint

    def before_epoch(self) -> None:
        """Raises Stopped, with a checkpoint of all that was trained, when a signal has come."""
        if (signal := self.job.asked_to_stop()) is not None:
            if self.training.epoch > self.good:
                self.save()
            raise Stopped(signal)

    def after_step(self) -> None:
        """Raises Stopped, with a checkpoint left, when a signal has come."""
        self.tell()
        if (signal := self.job.asked_to_stop()) is not None:
            self.save()
            raise Stopped(signal)
        if self.due_in_epoch():
            self.save()

    def tell(self) -> None:
        done, steps = self.training.position, len(self.training.batches)
        place = self._place(done, steps, done * self.training.order.batch)
        self.job.progress.step(self.training.seed, place)

    def due_in_epoch(self) -> bool:
        """Whether an epoch takes so long that it is time for a checkpoint in its midst."""
        return self.period > 0 and self._due()

    def after_epoch(self) -> None:
        training = self.training
        place = self._place(0, 0, len(training.cell_data.train))
        self.job.progress.epoch(training.seed, place, training.history[-1], training.seconds[-1])
        if self._due() and not training.finished:
            self.save()

    def save(self) -> None:
        state = self.training.state()
        if self.job.team.is_leader:
            self.checkpoints.save(state)
        self.saved, self.good = time.monotonic(), self.training.epoch

    def explain(self, problem: Diverged) -> Diverged:
        """The same, with the last good checkpoint named."""
        kept = "no checkpoint was left before"
        if self.checkpoints.path.exists():
            kept = f"last good checkpoint: after epoch {self.good}, {self.checkpoints.path}"
        return Diverged(f"{problem}; {kept}; lower the learning rate or the weights of the losses")

    def _place(self, position: int, steps: int, images: int) -> Place:
        return Place(self.training.epoch, len(self.training.schedule), position, steps, images)

    def _due(self) -> bool:
        return bool(self.job.team.all_max(time.monotonic() - self.saved >= self.period))
