"""What jobs leave behind while they run and when they fail: locks, logs, checkpoints, the queue.

Reads only, and imports no torch: `xkd status` asks at any time, from any machine.
"""

import contextlib
import json
import pickle
import re
import shutil
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xkd.records import lock

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


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


# -------------------------------------------------------------------------------------------- locks


def holder(path: Path) -> dict[str, Any] | None:
    """What the lock of a living process says, with `age`, the seconds since its last sign of life.

    None if the lock is void or absent; whether its process lives is judged by `records.lock`.
    """
    content = lock.read(path)
    try:
        age = max(time.time() - path.stat().st_mtime, 0.0)
    except OSError:
        return None
    return {**content, "age": age} if content and lock.alive(content, age) else None


@dataclass(frozen=True)
class Progress:
    """How far the job of a cell is, as the file beside its lock tells.

    seeds: to be trained by it; of: all of the cell
    epochs: seed -> epochs completed, and of how many
    left: seconds until all are done; None before anything is known
    """

    seeds: tuple[int, ...]
    of: int
    epochs: dict[int, tuple[float, int]]
    left: float | None


def progress(path: Path) -> Progress | None:
    """None if there is no such file, or it is not in the expected form."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        epochs = {int(s): (float(done), int(of)) for s, (done, of) in content["epochs"].items()}
        left = content["left"]
        if left is not None:
            left = max(0.0, float(left) - max(0.0, time.time() - content["at"]))
        return Progress(tuple(map(int, content["seeds"])), int(content["of"]), epochs, left)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


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
