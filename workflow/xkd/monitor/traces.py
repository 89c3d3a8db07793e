"""What jobs leave behind while they run and when they fail: locks, logs, checkpoints, the queue.

Reads only, and imports no torch: `xkd status` asks at any time, from any machine.
"""

import contextlib
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xkd.records.lock import STALE

UNITS = {"s": 1, "min": 60, "h": 3600}

# --------------------------------------------------------------------------------------------- logs


def ending(log: Path) -> str | None:
    """Why a job ended before it was done, in one line; None if its log does not say."""
    for line in reversed(_lines(log)):
        if refused := re.match(r"xkd \w+: (.*)", line):
            return refused[1]
        if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line):  # end of a traceback
            return line
        if resumable(line):
            return line
    return None


def resumable(line: str) -> bool:
    """Whether a job ended by a signal, in good order."""
    return "checkpoints are left" in line


def last_line(log: Path) -> str | None:
    """Whatever a log says last."""
    return next((line for line in reversed(_lines(log)) if line.strip()), None)


@dataclass
class Progress:
    """Of a cell's seeds, as its log tells.

    epochs: seed -> epochs completed, and of how many
    seconds: seed -> how long an epoch takes
    """

    epochs: dict[int, tuple[int, int]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    missing: list[int] | None = None  # seeds that the job set out to train

    def left(self) -> float | None:
        """Seconds until the missing seeds are done, at the pace so far; None if there is none."""
        if not self.seconds or not self.missing:
            return None
        pace = sum(self.seconds.values()) / len(self.seconds)
        total = next(iter(self.epochs.values()))[1]
        rest = [total - self.epochs.get(seed, (0, total))[0] for seed in self.missing]
        at_once = sum(epoch < epochs for epoch, epochs in self.epochs.values())
        return sum(rest) * pace / max(at_once, 1)


def progress(log: Path) -> Progress:
    """How far the log says that training is."""
    found = Progress()
    for line in _lines(log):
        if begun := re.search(r"training seeds ([\d, ]+) by", line):
            found.missing = [int(seed) for seed in begun[1].split(", ")]
        elif told := re.search(
            r"seed (\d+)  epoch (\d+)/(\d+)  .* images/s, ([\d.]+) (s|min|h) left", line
        ):
            seed, epoch, epochs = map(int, told.groups()[:3])
            found.epochs[seed] = epoch, epochs
            if epoch < epochs:
                left = float(told[4]) * UNITS[told[5]]
                found.seconds[seed] = left / (epochs - epoch)
    return found


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


# -------------------------------------------------------------------------------------------- locks


def holder(lock: Path) -> dict[str, Any] | None:
    """Who trains a cell, with `age`, the seconds since the last sign of life; None if nobody."""
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
        age = max(time.time() - lock.stat().st_mtime, 0.0)
    except (OSError, ValueError):
        return None
    here = content.get("host") == socket.gethostname()
    alive = _exists(content["pid"]) if here else age < STALE
    return {**content, "age": age} if alive else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


# -------------------------------------------------------------------------------------- checkpoints


class _Numbers(pickle.Unpickler):
    """Reads the plain values of a torch archive; tensors, and all else, become empty dicts."""

    def find_class(self, module: str, name: str) -> type:
        return _Nothing

    def persistent_load(self, pid: object) -> None:
        return None


class _Nothing(dict):
    """Stands for an object that is not made; takes whatever is put into it."""

    def __init__(self, *content: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


def checkpoint_epoch(path: Path) -> int | None:
    """Epochs completed in a checkpoint; None if it is absent or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                return int(_Numbers(file).load()["epoch"])
    except Exception:  # no list of what damaged pickles raise is complete
        return None


# ---------------------------------------------------------------------------------------- the queue


@dataclass(frozen=True)
class Queued:
    """A job of SLURM's."""

    id: str
    state: str  # RUNNING, PENDING, ...
    elapsed: str
    reason: str  # why it is pending


def queue() -> dict[str, Queued]:
    """This folder's jobs in the queue of SLURM, by the comment that names rule and wildcards."""
    found: dict[str, Queued] = {}
    if shutil.which("squeue") is None:
        return found
    command = ["squeue", "--me", "--noheader", "--format", "%i|%T|%M|%r|%Z|%k"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        for line in done.stdout.splitlines():
            job, state, elapsed, reason, folder, comment = line.split("|", 5)
            if Path(folder) == Path.cwd():
                found[comment] = Queued(job, state, elapsed, reason)
    return found
