"""One writer per cell: a lock file with a heartbeat, so that orphaned jobs are noticed."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import writing

AFFECTS_RESULTS = False
BEAT = 30.0  # seconds between two signs of life
STALE = 300.0  # seconds without one after which a lock of another machine is void


@contextlib.contextmanager
def locked(path: Path, name: str) -> Iterator["Lock"]:
    """Hold the lock of a cell while inside.

    Args:
        path: of the lock file.
        name: what is locked, for messages.
    Raises: Refused if another live process holds it, with the command that shows or ends it.
    """
    lock = Lock(path, name)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


class Lock:
    """A file that names host, process, SLURM job and a token; its date is the heartbeat.

    Args:
        on_loss: called, in another thread, when another process holds the lock all of a sudden; by
            default this process ends at once, because two must not write.
    """

    def __init__(self, path: Path, name: str, on_loss: Callable[[], None] | None = None) -> None:
        self.path, self.name, self.on_loss = path, name, on_loss or self._leave
        self.content = {
            **_place(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "job": os.environ.get("SLURM_JOB_ID"),
            "restart": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
            "token": uuid.uuid4().hex,
        }
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def acquire(self) -> None:
        """Raises Refused if a live process holds the lock, or nothing can be written there."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take()
        self._thread.start()

    def _take(self) -> None:
        with self._deciding():
            holder = self._read()
            if holder is not None:
                if reason := self._alive(holder):
                    raise Refused(self._refusal(holder, reason))
                self.path.unlink(missing_ok=True)
            self._sweep()
            if not self._create():
                raise Refused(self._refusal(self._read() or {}, "came first"))

    def release(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_ours():
            with contextlib.suppress(OSError):  # it is void as soon as this process has ended
                self.path.unlink()

    @contextlib.contextmanager
    def _deciding(self) -> Iterator[None]:
        """One at a time judges the holder, removes a dead one's lock and leaves its own.

        The guard is the kernel's lock on a file beside it: nobody can die holding it. Where the
        file system knows no such locks, two that break the same dead lock in the same millisecond
        may both go on; the heartbeat ends one of them.
        """
        path = self.path.with_name(f"{self.path.name}.guard")
        guard = self._guard(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(guard)

    @staticmethod
    def _guard(path: Path) -> int:
        """Wait for the guard; the one held must still be the file of that name."""
        while True:
            guard = os.open(path, os.O_RDWR | os.O_CREAT)
            with contextlib.suppress(OSError):
                fcntl.flock(guard, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(guard), path.stat()):
                    return guard
            os.close(guard)

    def _create(self) -> bool:
        """Appear whole or not at all: written aside, then linked, which fails if one is there."""
        aside = self.path.with_name(f"{self.path.name}.{self.content['token']}")
        try:
            aside.write_text(json.dumps(self.content), encoding="utf-8")
            os.link(aside, self.path)
        except (FileExistsError, FileNotFoundError):
            return False  # or swept by another, where the guard guards nothing
        except OSError as problem:
            if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            return self._create_exclusively()  # no hard links here
        finally:
            aside.unlink(missing_ok=True)
        return True

    def _create_exclusively(self) -> bool:
        try:
            with self.path.open("x", encoding="utf-8") as file:
                json.dump(self.content, file)
        except FileExistsError:
            return False
        return True

    def _read(self) -> dict[str, Any] | None:
        return read(self.path)

    def _is_ours(self) -> bool:
        return (self._read() or {}).get("token") == self.content["token"]

    def _alive(self, holder: Mapping[str, Any]) -> str | None:
        """Why the holder counts as alive; None if its lock is void."""
        job, restart = holder.get("job"), holder.get("restart")
        if job and job == self.content["job"] and restart != self.content["restart"]:
            return None  # this very job, requeued after its first machine was lost
        return alive(holder, self._age())

    def _sweep(self) -> None:
        """Remove what killed contenders left beside the lock; called under the guard."""
        for path in self.path.parent.glob(f"{self.path.name}.*"):
            if path.name != f"{self.path.name}.guard":
                path.unlink(missing_ok=True)

    def _age(self) -> float:
        """Seconds since the last heartbeat, by the file system's own clock.

        A beat in the future, from before a clock was set back, counts as one of this moment: a live
        holder will repeat it, and a dead one's lock is void in a while instead of in a year.
        """
        probe = self.path.with_name(f"{self.path.name}.{self.content['token']}.now")
        try:
            probe.touch()
            age = probe.stat().st_mtime - self.path.stat().st_mtime
            if age < -BEAT:
                os.utime(self.path)
            return max(age, 0.0)
        except FileNotFoundError:
            return STALE
        finally:
            probe.unlink(missing_ok=True)

    def _refusal(self, holder: dict, reason: str) -> str:
        job, pid, host = holder.get("job"), holder.get("pid"), holder.get("host", "unknown")
        who = f"process {pid} on {host}" + (f", SLURM job {job}" if job else "")
        if job:
            stop = f"look with `squeue -j {job}`, end it with `scancel {job}`"
        elif _same_place(holder):
            stop = f"look with `ps -p {pid}`, end it with `kill {pid}`"
        else:
            stop = f"end it there with `kill {pid}`, in its container if it has one"
        return f"{self.name} is being written by {who}, which {reason}; wait for it, or {stop}"

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            with contextlib.suppress(OSError):
                if not self._is_ours():
                    return self.on_loss()
                os.utime(self.path)

    def _leave(self) -> None:
        print(
            f"{self.name}: another process took the lock {self.path}, as if this one were dead; "
            "leaving everything to it",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)


def read(path: Path) -> dict[str, Any] | None:
    """The content of a lock file; None if there is none.

    One that is damaged, or not written yet, is empty: it counts as soon as its heartbeat is old.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def alive(holder: Mapping[str, Any], age: float) -> str | None:
    """Why the process that wrote a lock counts as alive, in words; None if its lock is void.

    Where the process would be seen from here (same host, same start of the system, same PID
    namespace) its number and start decide. Elsewhere, which includes a container beside this one
    that has the same host name and numbers of its own, the heartbeat decides alone.

    Args:
        holder: what the lock says, as `read` returns it.
        age: seconds since the last heartbeat.
    """
    if _same_place(holder) and isinstance(pid := holder.get("pid"), int):
        started = _started(pid)
        return "is running" if started and started == holder.get("started") else None
    return f"gave a sign of life {age:.0f} s ago" if age < STALE else None


def _same_place(holder: Mapping[str, Any]) -> bool:
    """Whether the holder's process number means here what it means there."""
    return all(holder.get(name) == value for name, value in _place().items())


def _place() -> dict[str, str | None]:
    """Host, start of its system, and PID namespace: what tells two containers apart."""
    return {"host": socket.gethostname(), "boot": _boot(), "pids": _pid_namespace()}


def _boot() -> str | None:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None  # a system without /proc has no containers either


def _pid_namespace() -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return None


def _started(pid: int) -> str | None:
    """When a process of this machine began, in its own unit; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return None
    try:  # a system without /proc: the number alone must do
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
