"""What a person sees while a cell trains: bars on a terminal, lines in a log otherwise."""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

AFFECTS_RESULTS = False
QUIET_SECONDS = 20.0  # between two lines in a log
DRAW_SECONDS = 0.2  # between two changes of a bar

Record = Mapping[str, float | str]  # a line of the history


class Place(NamedTuple):
    """Where a seed is: epochs completed of all, steps completed in the epoch under way of all."""

    epoch: int
    epochs: int
    position: int
    steps: int
    images: int  # seen in the epoch under way


def watch(cell: str) -> "Lines | Bars":
    """Bars if somebody is watching. Call `close` in the end."""
    return Bars(cell) if sys.stderr.isatty() else Lines(cell)


class Lines:
    """One line per epoch and seed, but no more than one in 20 s, and one for the last epoch."""

    def __init__(self, cell: str) -> None:
        self.cell = cell
        self._spoke: dict[int, float] = {}
        self._began: dict[int, tuple[float, int]] = {}  # when, with how many epochs completed

    def say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a log on a full disk is no reason to stop training
            print(f"{self.cell}: {line}", file=sys.stderr, flush=True)

    def step(self, seed: int, place: Place) -> None:
        """After every step."""

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        """After every epoch: its line of the history, and how long it took."""
        now, left = time.monotonic(), place.epochs - place.epoch
        began, before = self._began.setdefault(seed, (now - seconds, place.epoch - 1))
        if left and now - self._spoke.setdefault(seed, now) < QUIET_SECONDS:
            return
        self._spoke[seed] = now
        pace = (now - began) / (place.epoch - before)  # waits for other seeds included
        rate, rest = place.images / seconds, duration(left * pace)
        self.say(
            f"seed {seed}  epoch {place.epoch}/{place.epochs}  {scores(record)}  "
            f"{rate:.0f} images/s, {rest} left"
        )

    def close(self) -> None:
        pass


class Silence:
    """For a process whose leader speaks."""

    def say(self, line: str) -> None:
        pass

    def step(self, seed: int, place: Place) -> None:
        pass

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


class Bars:
    """A bar per seed: epoch, step, images per second, loss and accuracies, time left."""

    def __init__(self, cell: str) -> None:
        from rich.console import Console  # costs 0.1 s that a log need not pay
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.cell = cell
        self.bars = Progress(
            TextColumn("seed {task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[where]}", style="progress.percentage"),
            TextColumn("{task.fields[rate]}", style="progress.data.speed"),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            redirect_stdout=False,  # forked processes would write through the bars
            redirect_stderr=False,
        )
        self.bars.start()
        self._tasks: dict[int, int] = {}
        self._began: dict[int, tuple[int, float, int]] = {}  # epoch, time, images at its start
        self._drawn: dict[int, float] = {}

    def say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed
            self.bars.console.print(f"{self.cell}: {line}", markup=False, highlight=False)

    def step(self, seed: int, place: Place) -> None:
        now = time.monotonic()
        if now - self._drawn.get(seed, 0.0) < DRAW_SECONDS:
            return
        self._drawn[seed] = now
        epoch, began, before = self._began.get(seed, (-1, now, 0))
        if epoch != place.epoch:
            self._began[seed] = (place.epoch, now, place.images)
            rate = None
        else:
            rate = (place.images - before) / (now - began)
        where = f"epoch {place.epoch + 1}/{place.epochs} step {place.position}/{place.steps}"
        self._draw(seed, place.epoch + place.position / place.steps, place, where, rate)

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        where = f"epoch {place.epoch}/{place.epochs}"
        self._draw(seed, place.epoch, place, where, place.images / seconds, scores(record))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.bars.stop()

    def _draw(
        self,
        seed: int,
        done: float,
        place: Place,
        where: str,
        rate: float | None,
        scores: str | None = None,
    ) -> None:
        if seed not in self._tasks:
            self._tasks[seed] = self.bars.add_task(
                str(seed), total=place.epochs, where="", rate="", scores=""
            )
        shown = {"where": where}
        if rate is not None:
            shown["rate"] = f"{rate:.0f}/s"
        if scores is not None:
            shown["scores"] = scores
        self.bars.update(self._tasks[seed], completed=done, **shown)


def scores(record: Record) -> str:
    """`loss 1.234  train 0.512  test 0.498`."""
    found = [f"loss {record['loss']:.3f}"]
    for name in ("train_top1", "test_top1", "holdout_top1"):
        if name in record:
            found.append(f"{name.removesuffix('_top1')} {record[name]:.3f}")
    return "  ".join(found)


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
