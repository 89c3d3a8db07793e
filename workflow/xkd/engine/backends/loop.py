"""One seed after another, plain autograd: the reference that other backends are held against."""

import torch

from xkd.engine.job import Job, train_seed
from xkd.engine.training import Diverged


def train(job: Job) -> dict[int, str]:
    """Train the job's seeds. Returns: seed -> reason, of those that failed."""
    torch.set_num_threads(job.runtime.threads)
    failures = {}
    for seed in job.seeds:
        try:
            train_seed(job, seed)
        except Diverged as problem:
            failures[seed] = str(problem)
            job.progress.say(str(problem))
    return failures
