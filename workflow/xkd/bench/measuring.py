"""Times of a peer and of candidates that take turns, and what their ratio is."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Literal, NamedTuple, Protocol

Step = Callable[[], object]
Build = Callable[[], Step]  # makes a step in the process that will take it
PEER = "peer"  # the side that the others are compared with


class Spread(NamedTuple):
    """The median, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        if len(values) == 1:
            return cls(*values * 3)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Effort:
    """How long to look: about `seconds`, but no fewer than `rounds` and no more than `most`.

    sessions: so often, each with new processes: how fast one is depends on where its memory lies
    per_round: seconds of steps that every side gets in a round; one step where that takes longer
    """

    seconds: float = 15.0
    rounds: int = 5
    most: int = 50
    per_round: float = 0.1
    sessions: int = 3


class Clock:
    """What is left of the seconds that a bench may take."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end


@dataclass(frozen=True)
class Target:
    """One line of the report: what of the engine's is compared with what, and the promise.

    kind:  speed (how many times as fast as the peer), cost (time in multiples of the peer's),
           memory (GiB) or operations (launches of a step)
    bound: the least speed, or the most of anything else; None for a line that is for information
    """

    ours: str
    against: str
    kind: Literal["speed", "cost", "memory", "operations"]
    bound: float | None = None

    def met(self, value: float) -> bool | None:
        if self.bound is None:
            return None
        return value >= self.bound if self.kind == "speed" else value <= self.bound


@dataclass(frozen=True)
class Figure:
    """What was found of a target. peer, candidate: seconds per step, where steps were timed."""

    value: Spread
    rounds: int
    peer: Spread | None = None
    candidate: Spread | None = None


class Side(Protocol):
    """Somebody who can be asked for some steps."""

    def measure(self, steps: int) -> float:
        """Take them. Returns: seconds per step."""
        ...

    def close(self) -> None: ...


class Apart:
    """A side in a process of its own, forked from this one, timed by its processor time.

    Two programs that share a memory allocator are slower than each alone, and settings of a process
    that the engine makes would help its peers; the processor time of one process does not count
    what others on the machine do.

    Args:
        build: makes the step, in the new process; it is taken once before any turn.
    """

    def __init__(self, build: Build) -> None:
        context = get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build), daemon=True)
        self._process.start()
        theirs.close()

    def measure(self, steps: int) -> float:
        """Raises: RuntimeError if the process has died; its own words are on stderr."""
        try:
            self._pipe.send(steps)
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode
            raise RuntimeError(f"the process of one side ended with status {status}") from None

    def close(self) -> None:
        with suppress(ConnectionError):
            self._pipe.send(0)
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, build: Build) -> None:
    step = build()
    step()
    gc.collect()
    gc.disable()  # as `timeit` does
    while steps := pipe.recv():
        began = time.process_time()
        for _ in range(steps):
            step()
        pipe.send((time.process_time() - began) / steps)


def alternate(sides: Mapping[str, Side], effort: Effort) -> dict[str, list[float]]:
    """Time all sides in every round, in reverse order in every second round, then close them.

    A turn before warms up and is not counted.
    Returns: seconds per step of every side, round by round.
    """
    try:
        first = {name: side.measure(1) for name, side in sides.items()}
        steps = {name: max(1, math.ceil(effort.per_round / took)) for name, took in first.items()}
        rough = sum(
            count * sides[name].measure(count) if count > 1 else first[name]
            for name, count in steps.items()
        )
        rounds = min(max(int(effort.seconds / rough), effort.rounds), effort.most)
        taken: dict[str, list[float]] = {name: [] for name in sides}
        order = list(sides)
        for _ in range(rounds):
            for name in order:
                taken[name].append(sides[name].measure(steps[name]))
            order.reverse()
        return taken
    finally:
        for side in sides.values():
            side.close()


def in_sessions(builds: Mapping[str, Build], effort: Effort) -> dict[str, list[float]]:
    """Time sides in processes of their own, and in new ones in every session; see `alternate`."""
    share = replace(
        effort,
        seconds=effort.seconds / effort.sessions,
        rounds=math.ceil(effort.rounds / effort.sessions),
        most=math.ceil(effort.most / effort.sessions),
    )
    taken: dict[str, list[float]] = {name: [] for name in builds}
    for _ in range(effort.sessions):
        sides = {name: Apart(build) for name, build in builds.items()}
        for name, seconds in alternate(sides, share).items():
            taken[name] += seconds
    return taken


def compare(
    taken: Mapping[str, Sequence[float]], targets: Mapping[str, Target]
) -> dict[str, Figure]:
    """What became of every target: ratios within each round, and their spread over the rounds.

    Args:
        taken: of the side `PEER`, and of one side for every target; from `alternate`.
    """
    figures = {}
    for name, target in targets.items():
        pairs = zip(taken[PEER], taken[name], strict=True)
        ratios = [
            theirs / ours if target.kind == "speed" else ours / theirs for theirs, ours in pairs
        ]
        sides = Spread.of(taken[PEER]), Spread.of(taken[name])
        figures[name] = Figure(Spread.of(ratios), len(ratios), *sides)
    return figures
