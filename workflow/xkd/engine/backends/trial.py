"""Do seeds trained side by side gain anything on this machine, now? A second or two of trying.

Cores that a container lists but may not use, or that other work keeps busy, make processes wait for
each other; trained one after another, the seeds then finish sooner one by one and take less memory.
"""

import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import torch

from xkd.engine.job import Job

AFFECTS_RESULTS = False
FROM_STEPS = 10_000  # of the whole job; a shorter one would be half done meanwhile
WORTHWHILE = 1.1  # times the steps of one process
WARMUP = 3  # steps
SECONDS = 1.0
PATIENCE = 120.0  # seconds, for processes to start and take their steps


def steps(job: Job) -> int:
    """Steps that the job has before it, if no checkpoint shortens it."""
    recipe, images = job.settings.recipe, len(job.cell_data.train)
    return len(job.seeds) * recipe.epochs * -(-images // recipe.batch)


def gain(job: Job, at_once: int) -> float | None:
    """Steps per second of so many processes side by side, over those of one alone.

    Trains copies of the first seed that nobody keeps. None if a trial failed: the job itself will
    say why.
    """
    alone, together = _rate(job, 1), _rate(job, at_once)
    return together / alone if alone and together else None


def _rate(job: Job, processes: int) -> float | None:
    """Steps per second of all of them."""
    job.teacher(job.seeds[0])  # in memory before the fork, and therefore once
    context = get_context("fork")
    barrier, trials = context.Barrier(processes), []
    for _ in range(processes):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_try, args=(job, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        trials.append((process, ours))
    try:
        return sum(pipe.recv() for _, pipe in trials if pipe.poll(PATIENCE))
    except EOFError:
        return None
    finally:
        for process, _ in trials:
            process.kill()
            process.join()


def _try(job: Job, barrier: Barrier, pipe: Connection) -> None:
    """In a new process: steps per second of one seed, once all others are under way too."""
    torch.set_num_threads(job.runtime.threads)
    training = job.fresh(job.seeds[0])
    training.begin_epoch()
    for _ in range(min(WARMUP, len(training.batches))):
        training.advance()
    barrier.wait(PATIENCE)
    done, began = 0, time.monotonic()
    while (spent := time.monotonic() - began) < SECONDS:
        if training.position == len(training.batches):
            training.position = 0  # the same images again: only the time counts
        training.advance()
        done += 1
    pipe.send(done / spent)
