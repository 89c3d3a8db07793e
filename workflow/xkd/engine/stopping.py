"""Reasons to stop in good order: a signal, or the end of the process that started this one."""

import os
import signal
import threading
from types import FrameType

AFFECTS_RESULTS = False
RESUMABLE = 75  # EX_TEMPFAIL: stopped by SIGTERM, the same command continues


class Stopped(Exception):
    """Training stopped between two steps and left a checkpoint; signal: the reason."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


class Stop:
    """Notes SIGTERM and SIGINT instead of dying of them, while used as a context.

    The loop asks `requested` after every step. A second SIGINT interrupts at once.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._parent: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def requested(self) -> int | None:
        """The signal that came, if any.

        Raises: SystemExit in a process whose parent is gone: somebody else may have started over,
            and an orphan must not write.
        """
        if self._parent is not None and os.getppid() != self._parent:
            raise SystemExit(1)
        return self._signal

    def in_child(self, parent: int) -> None:
        """Call first in a forked process: it stops with its parent, and passes nothing on."""
        self._parent, self.pass_on = parent, _nobody

    def pass_on(self, number: int) -> None:
        """Called from the signal handler; a backend with processes sets it to tell them."""

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number
        self.pass_on(number)


def _nobody(number: int) -> None:
    pass
