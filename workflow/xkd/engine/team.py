"""The processes that train a cell together, started by torchrun; usually there is just this one."""

import atexit
import os
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist

from xkd.engine.options import team_size

AFFECTS_RESULTS = False
PATIENCE = timedelta(hours=2)  # while the leader writes files or waits for a lock

T = TypeVar("T")


class Team:
    """One process among `size`; the one of rank 0 leads: it alone writes and speaks.

    All members call the same methods in the same order, each of which waits for the others.

    Args:
        talk: group for small messages between hosts' memories, whatever the gradients travel by.
    """

    def __init__(self, rank: int = 0, size: int = 1, talk: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size, self._talk = rank, size, talk

    @property
    def is_leader(self) -> bool:
        return self.rank == 0

    def broadcast(self, content: T) -> T:
        """The leader's content, to all."""
        if self.size == 1:
            return content
        carried = [content]
        dist.broadcast_object_list(carried, src=0, group=self._talk)
        return carried[0]

    def all_max(self, number: int) -> int:
        """The largest of everybody's numbers, to all."""
        if self.size == 1:
            return number
        carried = torch.tensor(number)
        dist.all_reduce(carried, dist.ReduceOp.MAX, group=self._talk)
        return int(carried)

    def all_gather(self, content: T) -> list[T]:
        """Everybody's contents by rank, to all."""
        if self.size == 1:
            return [content]
        carried: list = [None] * self.size
        dist.all_gather_object(carried, content, group=self._talk)
        return carried


@cache
def assemble() -> Team:
    """The team that torchrun's variables describe, which lasts as long as this process.

    Each process takes the GPU of its local rank, unless it sees only one. Gradients travel by NCCL
    between GPUs and by Gloo between CPUs.
    """
    if (size := team_size()) == 1:
        return Team()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    atexit.register(dist.destroy_process_group)
    talk = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Team(int(os.environ["RANK"]), size, talk)
