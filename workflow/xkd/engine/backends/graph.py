"""All seeds at once on a GPU: whole steps captured as CUDA graphs, one stream per seed.

These networks are so small that a step's time goes into launching its hundreds of kernels. A
captured step is launched as one, and the seeds' graphs run side by side. Every kernel is the one
that a single seed would use, so methods know nothing of it.

A graph reads and writes fixed places: images and views of every step, a counter of steps, the
learning rate, the factors of the loss terms, and a table of meters that is read once per epoch. One
graph is captured per stage, set of loss terms and batch size; the last, smaller batch has its own.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from xkd.data.stream import EpochOrder
from xkd.engine.backends import Choice, loop
from xkd.engine.backends.cuda import Cuda, Uncapturable
from xkd.engine.job import CheckpointSchedule, Job
from xkd.engine.optimisers import Optimiser
from xkd.engine.stopping import Stopped
from xkd.engine.training import Diverged
from xkd.evaluate import count_right

AFFECTS_RESULTS = False
WARMUP = 3  # steps before a capture: libraries choose their kernels and allocate


class Replayable(Protocol):
    def replay(self) -> None: ...


def train(job: Job) -> dict[int, str]:
    """Train the job's seeds. Returns: seed -> reason, of those that failed."""
    cuda, failures = Cuda(job.runtime.device), dict[int, str]()
    all_graphs = [SeedGraphs(job, seed, cuda) for seed in job.seeds]
    try:
        while all_graphs:
            all_graphs = _one_epoch(job, all_graphs, failures)
        return failures
    except Uncapturable as problem:
        why = str(problem)
        job.seeds = [graphs.training.seed for graphs in all_graphs]
        while all_graphs:
            all_graphs.pop(0).save()  # and give its memory back
    job.progress.say(f"{why}; steps run one by one instead")
    job.card["engine"] |= Choice("loop", why).describe()
    return failures | loop.train(job)


def _one_epoch(
    job: Job, all_graphs: list["SeedGraphs"], failures: dict[int, str]
) -> list["SeedGraphs"]:
    """Train every seed to the end of its epoch. Returns: those with epochs left."""
    for graphs in all_graphs:
        graphs.begin()
    busy = all_graphs
    while busy := [graphs for graphs in busy if graphs.steps_left]:
        for graphs in busy:
            graphs.launch()
        if job.stop.requested is not None:
            for graphs in all_graphs:
                _or_fail(graphs.save, graphs, failures)
            raise Stopped(job.stop.requested)
        for graphs in busy:
            if graphs.saving.due_in_epoch():
                _or_fail(graphs.save, graphs, failures)
    for graphs in all_graphs:
        graphs.launch_scoring()  # all of them before the first is waited for
    for graphs in all_graphs:
        _or_fail(graphs.end, graphs, failures)
    for graphs in all_graphs:
        if graphs.training.finished:
            _or_fail(lambda graphs=graphs: job.finish(graphs.training), graphs, failures)
    return [
        graphs
        for graphs in all_graphs
        if not graphs.training.finished and graphs.training.seed not in failures
    ]


def _or_fail(action: Callable[[], None], graphs: "SeedGraphs", failures: dict[int, str]) -> None:
    """Do it, unless the seed has failed already; note it if it fails now."""
    if graphs.training.seed in failures:
        return
    try:
        action()
    except Diverged as problem:
        reason = str(graphs.saving.explain(problem))
        failures[graphs.training.seed] = reason
        graphs.job.progress.say(reason)


class SeedGraphs:
    """One seed with its stream, its random numbers, its graphs and the places they use."""

    def __init__(self, job: Job, seed: int, cuda: Cuda) -> None:
        self.job, self.cuda = job, cuda
        self.training = job.fresh(seed)
        self.training.generator = self.generator = cuda.generator()
        job.resume(self.training)
        self.saving = CheckpointSchedule(job, self.training)
        counter = {"dtype": torch.int64, "device": job.cell_data.rows.device}
        runtime = job.runtime
        self.training.one = torch.ones((), device=runtime.device, dtype=runtime.dtype)
        self.at, self.right = torch.zeros(1, **counter), torch.zeros((), **counter)  # at: next step
        # By loss terms: the meters of every step, [steps, K], and their names.
        self.meters: dict[tuple[str, ...], tuple[Tensor, list[str]]] = {}
        self.graphs: dict[tuple[int, tuple[str, ...]], Replayable] = {}  # by size and terms
        self.scoring: Replayable | None = None
        self.optimiser: Optimiser | None = None  # that the graphs update with
        self.live = False  # whether the epoch's meters are here, not yet in the training
        self.stream, self.pool = cuda.stream(), cuda.pool()  # after all that was launched above

    @property
    def steps_left(self) -> int:
        return len(self.training.batches) - self.training.position

    def begin(self) -> None:
        """Start the epoch, or continue it; capture what it needs and has not been captured."""
        training = self.training
        with self.cuda.on(self.stream):
            if training.order is None:
                training.begin_epoch()
            if self.optimiser is not training.optimiser:
                self.graphs.clear()
                self.meters.clear()
                self.optimiser = training.optimiser
                self.order = self._steps(training.order)
            self.order.copy_(self._steps(training.order))
            self.terms, sizes = tuple(training.terms), training.order.sizes
            graphs = {size: self._graph(size) for size in sorted(set(sizes), reverse=True)}
            self.sequence = [graphs[size] for size in sizes]
            self.at.fill_(training.position)
            self.rows, training.names = self.meters[self.terms]
            if training.position:  # of an epoch that is resumed
                self.rows[: training.position] = training.rows[: training.position]
            if self.scoring is None:
                self.scoring = self._capture_scoring()
            self.live = True

    def launch(self) -> None:
        """The next step; returns before the device has done it."""
        with self.cuda.on(self.stream):
            self.sequence[self.training.position].replay()
        self.training.position += 1
        self.saving.tell()

    def launch_scoring(self) -> None:
        with self.cuda.on(self.stream):
            self.scoring.replay()

    def end(self) -> None:
        """Wait for the epoch, and record it."""
        self._settle()
        self.live = False
        self.training.end_epoch(self.right.item() / len(self.job.cell_data.score.labels))
        self.saving.after_epoch()

    def save(self) -> None:
        """Wait for the steps launched so far, and leave a checkpoint."""
        self._settle()
        self.saving.save()

    def _settle(self) -> None:
        self.cuda.wait(self.stream)
        if self.live:
            self.training.rows = self.rows

    @staticmethod
    def _steps(order: EpochOrder) -> Tensor:
        """Images and views of every step, [steps, 2, batch], so that one launch finds both.

        What the last step lacks is filled with zeros and not looked at; images that no step takes
        are cut off.
        """
        both = torch.stack([order.index, order.view])
        missing = len(order) * order.batch - both.shape[1]
        padded = F.pad(both, (0, missing)).unflatten(1, (-1, order.batch))
        return padded.movedim(1, 0).contiguous()

    def _graph(self, size: int) -> Replayable:
        """The step of a batch size, for the terms of this epoch."""
        key = (size, self.terms)
        if key not in self.graphs:
            self.graphs[key] = self._capture_step(size)
        return self.graphs[key]

    def _capture_step(self, size: int) -> Replayable:
        training, steps = self.training, len(self.training.batches)
        order = self.order

        def step() -> Tensor:
            index, view = order.index_select(0, self.at)[0, :, :size]
            return training.step(index, view)

        with self._unchanged():
            self.at.fill_(0 if size == training.order.batch else steps - 1)
            for _ in range(WARMUP):
                row = step()
        fresh = row.new_empty(steps, len(row)), training.names
        rows, _ = self.meters.setdefault(self.terms, fresh)

        def body() -> None:
            rows.index_copy_(0, self.at, step()[None])
            self.at.add_(1)

        return self.cuda.capture(body, self.stream, self.pool, self.generator)

    def _capture_scoring(self) -> Replayable:
        def body() -> None:
            with self.job.runtime.autocast():
                self.right.copy_(
                    count_right(self.training.method.student, self.job.cell_data.score)
                )

        body()
        return self.cuda.capture(body, self.stream, self.pool, self.generator)

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Put weights, statistics, banks and running averages back afterwards, in place."""
        kept = [*self.training.method.state_dict().values(), *self.training.moments.values()]
        before = [value.clone() for value in kept]
        yield
        with torch.no_grad():
            for value, old in zip(kept, before, strict=True):
                value.copy_(old)
