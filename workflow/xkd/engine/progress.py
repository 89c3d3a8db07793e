"""What a person sees while a cell trains: bars on a terminal, lines in a log otherwise."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xkd.wording import duration

AFFECTS_RESULTS = False
QUIET_SECONDS = 20.0  # between two lines in a log
DRAW_SECONDS = 0.2  # between two changes of a bar
WRITE_SECONDS = 2.0  # between two states of the file beside the lock

Record = Mapping[str, float | str]  # a line of the history


class Place(NamedTuple):
    """Where a seed is: epochs completed of all, steps completed in the epoch under way of all."""

    epoch: int
    epochs: int
    position: int
    steps: int
    images: int  # seen in the epoch under way


def watch(cell: str, beside: Path | None = None) -> "Lines | Bars":
    """Bars on a terminal, lines elsewhere. Call `close` in the end.

    Args:
        beside: a file for `xkd status`, see `ProgressFile`; none without it.
    """
    file = ProgressFile(beside)
    return Bars(cell, file) if sys.stderr.isatty() else Lines(cell, file)


class ProgressFile:
    """A small JSON file that says how far the seeds of a cell are; gone when its job has ended.

        seeds   to be trained by this job; of: all of the cell
        epochs  seed -> epochs completed, as a fraction within one, and of how many
        left    seconds until all are done, at the pace so far; null before the first epoch's end
        at      when it was written, in seconds since 1970
        scores  seed -> the last line of its history, in words

    What cannot be written is left out: training does not stop for it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.content: dict[str, Any] = {"seeds": [], "of": 0, "epochs": {}, "scores": {}}
        self._start: dict[int, float] = {}  # epochs completed when a seed was first heard of
        self._began = self._written = time.monotonic()

    def begin(self, seeds: Sequence[int], of: int) -> None:
        self.content |= {"seeds": list(seeds), "of": of}
        self._began = time.monotonic()
        self._write()

    def place(self, seed: int, place: Place, record: Record | None = None) -> None:
        """Note where a seed is; to the disk every two seconds, and with every record."""
        now = time.monotonic()
        if record is None and now - self._written < WRITE_SECONDS:
            return
        done = place.epoch + (place.position / place.steps if place.steps else 0.0)
        self._start.setdefault(seed, place.epoch - 1 if record else done)
        self.content["epochs"][str(seed)] = [round(done, 3), place.epochs]
        if record is not None:
            self.content["scores"][str(seed)] = scores(record)
        if now - self._written >= WRITE_SECONDS or place.epoch == place.epochs:
            self._write()

    def left(self) -> float | None:
        """Seconds for what is missing, if all goes on as since the beginning."""
        known = self.content["epochs"]
        if not known:
            return None
        done = sum(known[str(seed)][0] - start for seed, start in self._start.items())
        if done <= 0:
            return None
        total = next(iter(known.values()))[1]
        rest = sum(total - known.get(str(seed), [0])[0] for seed in self.content["seeds"])
        return rest * (time.monotonic() - self._began) / done

    def close(self) -> None:
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = time.monotonic()
        if self.path is None:
            return
        content = {**self.content, "left": self.left(), "at": time.time()}
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError):  # not to the disk at once: nothing depends on it
            try:
                part.write_text(json.dumps(content), encoding="utf-8")
                os.replace(part, self.path)
            finally:
                part.unlink(missing_ok=True)


class Lines:
    """One line per epoch and seed, but no more than one in 20 s, and one for the last epoch."""

    def __init__(self, cell: str, file: ProgressFile | None = None) -> None:
        self.cell, self.file = cell, file or ProgressFile(None)
        self._spoke: dict[int, float] = {}
        self._began: dict[int, tuple[float, int]] = {}  # when, with how many epochs completed

    def say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a log on a full disk is no reason to stop training
            print(f"{self.cell}: {line}", file=sys.stderr, flush=True)

    def begin(self, seeds: Sequence[int], of: int) -> None:
        """Before the first step: seeds that are missing, of how many."""
        self.file.begin(seeds, of)

    def step(self, seed: int, place: Place) -> None:
        """After every step."""
        self.file.place(seed, place)

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        """After every epoch: its line of the history, and how long it took."""
        self.file.place(seed, place, record)
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
        self.file.close()


class Silence:
    """For a process whose leader speaks."""

    def say(self, line: str) -> None:
        pass

    def begin(self, seeds: Sequence[int], of: int) -> None:
        pass

    def step(self, seed: int, place: Place) -> None:
        pass

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


class Bars:
    """A bar per seed: epoch, step, images per second, loss and accuracies, time left."""

    def __init__(self, cell: str, file: ProgressFile | None = None) -> None:
        from rich.console import Console  # costs 0.1 s that a log need not pay
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.cell, self.file = cell, file or ProgressFile(None)
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

    def begin(self, seeds: Sequence[int], of: int) -> None:
        self.file.begin(seeds, of)

    def step(self, seed: int, place: Place) -> None:
        self.file.place(seed, place)
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
        self.file.place(seed, place, record)
        where = f"epoch {place.epoch}/{place.epochs}"
        self._draw(seed, place.epoch, place, where, place.images / seconds, scores(record))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.bars.stop()
        self.file.close()

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
