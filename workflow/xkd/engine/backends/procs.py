"""One single-thread process per seed, as many at once as there are threads; for CPUs.

Processes are forked, so that images, teacher and table exist once in memory and nothing is imported
again. A seed that fails, or whose process is killed, harms no other.
"""

import os
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

import torch

from xkd.engine.job import Job, train_seed
from xkd.engine.progress import Place, Record
from xkd.engine.stopping import Stopped
from xkd.errors import Refused

AFFECTS_RESULTS = False
STEP_SECONDS = 0.5  # between two reports of a process on its steps


def train(job: Job) -> dict[int, str]:
    """Train the job's seeds. Returns: seed -> reason, of those that failed."""
    for seed in job.seeds:
        job.teacher(seed)  # in memory before the fork, and therefore once
    waiting, running = deque(job.seeds), dict[Connection, tuple[int, ForkProcess]]()
    failures: dict[int, str] = {}
    job.stop.pass_on = lambda number: [process.terminate() for _, process in running.values()]
    while running or (waiting and job.stop.requested is None):
        while waiting and len(running) < job.options.threads and job.stop.requested is None:
            seed = waiting.popleft()
            connection, process = _start(job, seed)
            running[connection] = seed, process
        for connection in wait(list(running)):
            seed, process = running[connection]
            try:
                kind, *content = connection.recv()
            except EOFError:
                process.join()
                del running[connection]
                if process.exitcode and job.stop.requested is None:
                    failures.setdefault(seed, _explanation(seed, process.exitcode))
                continue
            if kind == "failed":
                failures[seed] = content[0]
                job.progress.say(content[0])
            else:
                getattr(job.progress, kind)(*content)
    if job.stop.requested is not None:
        raise Stopped(job.stop.requested)
    return failures


def _start(job: Job, seed: int) -> tuple[Connection, ForkProcess]:
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_run, args=(job, seed, theirs, os.getpid()), name=f"seed{seed}"
    )
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return ours, process


def _run(job: Job, seed: int, pipe: Connection, parent: int) -> None:
    """In the new process."""
    job.stop.in_child(parent)
    torch.set_num_threads(job.runtime.threads)
    job.progress = Reporter(pipe)
    try:
        train_seed(job, seed)
    except Refused as problem:
        pipe.send(("failed", str(problem)))
    except Stopped:
        pass  # the parent knows


@dataclass
class Reporter:
    """Passes progress on to the parent; steps now and then, the rest at once."""

    pipe: Connection
    told: float = 0.0

    def say(self, line: str) -> None:
        self.pipe.send(("say", line))

    def step(self, seed: int, place: Place) -> None:
        if (now := time.monotonic()) - self.told > STEP_SECONDS:
            self.told = now
            self.pipe.send(("step", seed, place))

    def epoch(self, seed: int, place: Place, record: Record, seconds: float) -> None:
        self.pipe.send(("epoch", seed, place, record, seconds))


def _explanation(seed: int, status: int) -> str:
    if status > 0:
        return f"seed {seed}: its process failed (exit {status}); the log above says why"
    killed = " (the system does so when memory runs out)" if status == -9 else ""
    return (
        f"seed {seed}: its process was ended by signal {-status}{killed}; "
        "the same command continues from its last checkpoint"
    )
