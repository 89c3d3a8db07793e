"""Every step shared among processes by torch's DistributedDataParallel; one seed after another.

    g = Σ_r (n_r / n) · ∂L_r        r: process, n_r of the step's n images with mean loss L_r

which is the gradient of the whole step's mean loss: several processes take the same steps as one,
up to rounding. What a method computes *across* the images of a batch it computes within each
process: the statistics of batch norm (as torch's and the papers' own ImageNet recipes do), the
weights of CWTM, random permutations. Evaluation uses the leader's running statistics.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from xkd.engine.backends import loop
from xkd.engine.job import Job
from xkd.engine.team import Team
from xkd.engine.training import Training, select
from xkd.evaluate import count_right
from xkd.methods.base import BaseMethod, Batch, StepOutput


def train(job: Job) -> dict[int, str]:
    """Train the job's seeds. Returns: seed -> reason, of those that failed."""
    job.kind = partial(Shared, team=job.team)
    return loop.train(job)


class Shared(Training):
    """One seed, of whose every step this process sees every `team.size`-th image."""

    def __init__(self, *given: Any, team: Team) -> None:
        super().__init__(*given)
        self.team = team
        if not team.is_leader:  # the same start, other random numbers on the way
            self.generator.manual_seed(self.seed * 65536 + team.rank)

    def enter_stage(self) -> None:
        """Also wraps the method anew, for the weights that this stage trains."""
        super().enter_stage()
        objective = Objective(self.method, lambda: self.terms)
        self.wrapped = DistributedDataParallel(objective, find_unused_parameters=True)

    def part(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Every `size`-th image, or one that will count nothing where there are too few."""
        rank = self.team.rank if self.team.rank < len(index) else 0
        return index[rank :: self.team.size], view[rank :: self.team.size]

    def step(self, index: Tensor, view: Tensor) -> Tensor:
        """As in one process; the returned means and counts are those of the whole step."""
        whole = self.order.sizes[self.position]
        self.share = len(index) / whole if self.team.rank < whole else 0.0
        row = super().step(index, view)
        counted = torch.tensor([name == "correct" for name in self.names], device=row.device)
        here = float(self.share > 0)
        row = torch.where(counted, row * here, row * self.share)
        dist.all_reduce(row)
        return row

    def ask(self, batch: Batch, stage: str) -> StepOutput:
        return self.wrapped(batch, stage)

    def backward(self, loss: Tensor) -> None:
        """DistributedDataParallel takes the mean over processes."""
        (loss * (self.share * self.team.size)).backward()

    def score(self) -> float:
        """Every process scores its part, with the leader's running statistics."""
        for buffer in self.method.buffers():
            dist.broadcast(buffer, src=0)
        whole, rank = self.cell_data.score, self.team.rank
        first, last = (len(whole.labels) * r // self.team.size for r in (rank, rank + 1))
        part = whole._replace(images=whole.images[first:last], labels=whole.labels[first:last])
        with self.runtime.autocast():
            right = count_right(self.method.student, part)
        dist.all_reduce(right)
        return int(right) / len(whole.labels)

    def state(self) -> dict[str, Any]:
        """As in one process, with the random numbers of all; to be called by all."""
        state = super().state()
        return {**state, "randoms": self.team.all_gather(state["random"])}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore({**state, "random": state["randoms"][self.team.rank]})


class Objective(nn.Module):
    """The method, answering with the loss terms that are added and nothing else that has gradients.

    A weight that serves no such term then counts as unused, as it does in one process.
    """

    def __init__(self, method: BaseMethod, terms: Callable[[], Iterable[str]]) -> None:
        super().__init__()
        self.method, self._terms = method, terms

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        result = self.method(batch, stage)
        names = list(self._terms())
        terms = dict(zip(names, select(result.terms, names, self.method), strict=True))
        return StepOutput(result.logits.detach(), terms, result.meters)
