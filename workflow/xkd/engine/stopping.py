"""Reasons to stop in good order: a signal, or the end of the process that started this one."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

AFFECTS_RESULTS = False
RESUMABLE = 75  # EX_TEMPFAIL: stopped by SIGTERM or SIGHUP, the same command continues
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE = 25.0  # seconds for forked processes to leave checkpoints; SLURM kills all after 30


class Stopped(Exception):
    """Training stopped between two steps and left a checkpoint; signal: the reason."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class Stop:
    """Notes SIGTERM, SIGINT and SIGHUP instead of dying of them, while used as a context.

    The loop reads `requested` after every step. A second SIGINT interrupts at once. What is ignored
    at the start, as SIGHUP is under `nohup`, stays ignored.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._parent: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def requested(self) -> int | None:
        """The first signal that came, if any.

        Raises: SystemExit in a process whose parent is gone: another may have started over, and an
            orphan must not write.
        """
        if self._parent is not None and os.getppid() != self._parent:
            raise SystemExit(1)
        return self._signal

    def in_child(self, parent: int) -> None:
        """Call first in a process forked under `held_back`: signals stop it alone from now on."""
        self._parent, self.pass_on = parent, _to_none
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def pass_on(self, number: int) -> None:
        """Called from the signal handler; a backend with processes sets it to stop them."""

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal = number
        elif number == signal.SIGINT and self._parent is None:
            raise KeyboardInterrupt
        self.pass_on(number)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait while a process is forked, and until its parent knows it.

    Python drops what reaches a new process before its interpreter is ready, and a handler that runs
    there would act for the parent.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _to_none(number: int) -> None:
    pass


def leave_at_once(verb: str) -> None:
    """Let Ctrl-C end this process, with a line, until a `Stop` is entered.

    By default it raises KeyboardInterrupt wherever Python is. Raised in the midst of an import, in
    a callback or a destructor, the exception is ignored, and so was the wish to stop.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        os.write(2, f"xkd {verb}: interrupted; the same command continues\n".encode())
        os._exit(128 + number)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
