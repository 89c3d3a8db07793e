"""One single-thread process per seed, as many at work as there are threads; for CPUs.

Seeds take turns of an epoch, those that are furthest behind first. So all end together, and no core
idles while the last of five is trained. A process that waits for its turn keeps its memory.

Processes are forked, so that images, teacher and table exist once in memory and nothing is imported
again. A seed that fails, or whose process is killed, harms no other.
"""

import contextlib
import os
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

import torch

from xkd.engine.job import Job, train_seed
from xkd.engine.progress import Place, Record
from xkd.engine.stopping import GRACE, RESUMABLE, Stop, Stopped, held_back
from xkd.errors import Refused

AFFECTS_RESULTS = False
STEP_SECONDS = 0.5  # between two reports of a process on its steps
LOOK_SECONDS = 0.2  # between two looks of a waiting process for a reason to stop


def train(job: Job) -> dict[int, str]:
    """Train the job's seeds. Returns: seed -> reason, of those that failed."""
    for seed in job.seeds:
        job.teacher(seed)  # in memory before the fork, and therefore once
    pool = WorkerPool(job)
    job.stop.pass_on = pool.terminate
    try:
        while pool.workers or (pool.waiting and job.stop.requested is None):
            if job.stop.requested is None:
                pool.give_turns()
            else:
                pool.press()
            pool.listen()
    finally:
        pool.dismiss()
    if job.stop.requested is not None:
        raise Stopped(job.stop.requested)
    return pool.failures


@dataclass
class Worker:
    """The process of a seed, as its parent sees it. epochs: completed."""

    seed: int
    process: ForkProcess
    epochs: int = 0
    at_work: bool = True


class WorkerPool:
    """All processes of a job.

    Attributes:
        waiting:  seeds that have no process yet
        workers:  by the pipe to their process, until it ends
        failures: seed -> reason
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.waiting = deque(job.seeds)
        self.workers: dict[Connection, Worker] = {}
        self.failures: dict[int, str] = {}
        self._deadline: float | None = None  # once asked to stop

    def give_turns(self) -> None:
        """Set to work as many as there are threads: new processes first, then those behind."""
        idle = self.job.options.threads - sum(w.at_work for w in self.workers.values())
        for _ in range(idle):
            resting = [pipe for pipe, worker in self.workers.items() if not worker.at_work]
            if self.waiting and len(self.workers) < self.job.in_memory:
                self._start(self.waiting[0])
            elif resting:
                pipe = min(resting, key=lambda pipe: self.workers[pipe].epochs)
                self.workers[pipe].at_work = True
                with contextlib.suppress(OSError):  # it has died; `listen` will find out
                    pipe.send("go on")

    def listen(self) -> None:
        """Wait a moment for processes to report or end, and act on it."""
        for pipe in wait(list(self.workers), LOOK_SECONDS):  # a signal must not find it waiting
            worker = self.workers[pipe]
            try:
                kind, *content = pipe.recv()
            except (EOFError, OSError):  # also in the midst of a message
                self._ended(self.workers.pop(pipe))
                continue
            if kind == "failed":
                self.failures[worker.seed] = content[0]
                self.job.progress.say(content[0])
            elif kind == "turn":
                worker.epochs, worker.at_work = content[0], False
            else:
                getattr(self.job.progress, kind)(*content)

    def press(self) -> None:
        """Stop all processes; those that have not stopped after the time of grace are killed."""
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE
            self.terminate()  # also those that were on their way when the signal came
        elif time.monotonic() > self._deadline:
            for worker in self.workers.values():
                worker.process.kill()

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Let all of them leave a checkpoint and end; also from a signal's handler."""
        for worker in list(self.workers.values()):
            worker.process.terminate()

    def dismiss(self) -> None:
        """Leave no process behind, whatever happened; those at work leave a checkpoint."""
        self.terminate()
        deadline = time.monotonic() + GRACE
        for worker in self.workers.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _start(self, seed: int) -> None:
        """In a new process, or, if the system has no room for one, after another has ended.

        Raises: Refused if it has not even room for one.
        """
        context = get_context("fork")
        ours, theirs = context.Pipe()
        arguments = self.job, seed, theirs, os.getpid()
        process = context.Process(target=_run, args=arguments, name=f"seed{seed}")
        try:
            with held_back():
                process.start()
                self.waiting.popleft()
                self.workers[ours] = Worker(seed, process)
        except OSError as problem:
            if not self.workers:
                raise Refused(f"no process can be started for seed {seed}: {problem}") from None
            self.job.in_memory = len(self.workers)
            self.job.progress.say(f"no room for another process ({problem}); seed {seed} waits")
        finally:
            theirs.close()  # so that the end of the process is the end of the pipe

    def _ended(self, worker: Worker) -> None:
        worker.process.join()
        if worker.process.exitcode and self.job.stop.requested is None:
            self.failures.setdefault(worker.seed, _explanation(worker))


def _run(job: Job, seed: int, pipe: Connection, parent: int) -> None:
    """In the new process."""
    job.stop.in_child(parent)
    torch.set_num_threads(job.runtime.threads)
    job.progress = Reporter(pipe)
    job.await_turn = partial(_await_turn, pipe, job.stop)
    try:
        train_seed(job, seed)
    except Refused as problem:
        pipe.send(("failed", str(problem)))
    except Stopped:
        sys.exit(RESUMABLE)


def _await_turn(pipe: Connection, stop: Stop, epochs: int) -> None:
    """Wait until another epoch may be trained, or there is reason to stop; epochs: completed."""
    pipe.send(("turn", epochs))
    while stop.requested is None:
        if pipe.poll(LOOK_SECONDS):
            pipe.recv()
            return


@dataclass
class Reporter:
    """Passes progress on to the parent; steps now and then, the rest at once."""

    pipe: Connection
    last_report: float = 0.0

    def say(self, line: str) -> None:
        self.pipe.send(("say", line))

    def step(self, seed: int, place: Place) -> None:
        if (now := time.monotonic()) - self.last_report > STEP_SECONDS:
            self.last_report = now
            self.pipe.send(("step", seed, place))

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        self.pipe.send(("epoch", seed, place, record, seconds))


def _explanation(worker: Worker) -> str:
    seed, status = worker.seed, worker.process.exitcode
    if status == RESUMABLE:
        return f"seed {seed}: its process was stopped; the same command continues"
    if status > 0:
        return f"seed {seed}: its process failed (exit {status}); the log above says why"
    killed = " (the system does so when memory runs out)" if -status == signal.SIGKILL else ""
    return (
        f"seed {seed}: its process was ended by {signal.Signals(-status).name}{killed}; "
        "the same command continues from its last checkpoint"
    )
