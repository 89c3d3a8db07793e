"""What a person sees while a cell trains: a bar per seed on a terminal, lines in a log otherwise."""

import sys
import time
from collections.abc import Mapping

AFFECTS_RESULTS = False
QUIET_SECONDS = 20.0  # between two lines in a log


class Lines:
    """One line per epoch, but no more than one every 20 s, and one for the last epoch."""

    def __init__(self, cell: str, epochs: int) -> None:
        self.cell, self.epochs = cell, epochs
        self._spoke: dict[int, float] = {}

    def say(self, line: str) -> None:
        print(f"{self.cell}: {line}", file=sys.stderr, flush=True)

    def step(self, seed: int, epoch: int, position: int, steps: int, images: int) -> None:
        """After every step: epochs and steps completed, images seen in this epoch."""

    def epoch(self, seed: int, record: Mapping[str, float | str], seconds: float) -> None:
        """After every epoch: its line of the history, and how long it took."""
        now, number = time.monotonic(), int(record["epoch"])
        quiet = now - self._spoke.setdefault(seed, now) < QUIET_SECONDS
        if quiet and number < self.epochs:
            return
        self._spoke[seed] = now
        left = seconds * (self.epochs - number)
        self.say(f"seed {seed}  {describe(record, self.epochs)}  {seconds:.1f} s, {left:.0f} s left")

    def close(self) -> None:
        pass


def describe(record: Mapping[str, float | str], epochs: int) -> str:
    """`epoch 3/16  loss 1.234  train 0.512  test 0.498`."""
    scores = "".join(
        f"  {name.removesuffix('_top1')} {record[name]:.3f}"
        for name in ("train_top1", "test_top1", "holdout_top1")
        if name in record
    )
    return f"epoch {record['epoch']}/{epochs}  loss {record['loss']:.3f}{scores}"
