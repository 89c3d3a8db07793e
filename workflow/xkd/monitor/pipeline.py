"""What the Snakemake that works on a scale is doing: written by it, read by `xkd status`."""

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.monitor import traces
from xkd.plan.runs import Layout
from xkd.records.lock import Lock
from xkd.records.lock import read as read_lock

AFFECTS_RESULTS = False


@dataclass(frozen=True)
class Pipeline:
    """State of a living Snakemake.

    running: rule and subject (its wildcards) of jobs under way
    left: seconds until all is done, a guess; None at the start
    holder: what its lock says
    """

    done: int
    total: int
    running: frozenset[tuple[str, str]]
    left: float | None
    holder: Mapping[str, Any]


class Writer:
    """Keeps the state of this Snakemake in a file while it works, beside a lock with a heartbeat.

    Where another one holds the lock, or nothing can be written, it does nothing.
    """

    def __init__(self, layout: Layout) -> None:
        self.path = layout.pipeline()
        self._lock = Lock(self.path.with_name("lock"), "the pipeline", on_loss=lambda: None)
        self._held = False

    def begin(self) -> None:
        with contextlib.suppress(Refused, OSError):
            self._lock.acquire()
            self._held = True

    def write(
        self, done: int, total: int, running: Sequence[tuple[str, str]], left: float | None
    ) -> None:
        if not self._held:
            return
        content = {"done": done, "total": total, "running": running, "left": left}
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps({**content, "at": time.time()}), encoding="utf-8")
            os.replace(part, self.path)

    def end(self) -> None:
        if self._held:
            self._held = False
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._lock.release()


def unlock(results: Path, locks: Path = Path(".snakemake/locks")) -> int | None:
    """Remove the lock that a Snakemake left in this folder when it was killed.

    Its own lock is a list of files, which says nothing of who holds it; the pipeline's lock does.
    Nothing is removed while any Snakemake works here, nor what is younger than the last sign of
    life of the killed one. Cells have locks of their own: jobs that it left are not disturbed.

    Args:
        results: of all scales.
    Returns: the number of the killed process; None if there was nothing to do.
    """
    ours = list(results.glob("*/.pipeline/lock"))
    if not ours or any(traces.holder(lock) for lock in ours):
        return None
    removed = None
    with contextlib.suppress(OSError):
        last = max(ours, key=lambda lock: lock.stat().st_mtime)
        for theirs in locks.glob("*.lock"):
            if theirs.stat().st_mtime <= last.stat().st_mtime:
                theirs.unlink()
                removed = read_lock(last).get("pid")
    return removed


def read(layout: Layout) -> Pipeline | None:
    """None if no Snakemake works there, or its state is not in the expected form."""
    path = layout.pipeline()
    holder = traces.holder(path.with_name("lock"))
    if holder is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        running = frozenset((str(rule), str(subject)) for rule, subject in content["running"])
        left = content["left"]
        if left is not None:
            left = max(0.0, float(left) - max(0.0, time.time() - content["at"]))
        return Pipeline(int(content["done"]), int(content["total"]), running, left, holder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
