"""How to train: backend, precision, threads, checkpoints. Never what; imports no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from xkd.errors import Refused, unknown

AFFECTS_RESULTS = False

BACKENDS = ("auto", "loop", "procs", "graph")
PRECISIONS = ("float32", "tf32", "bf16", "float64")
DEVICES = ("auto", "cpu", "cuda")
TEACHERS = ("auto", "table", "forward")


@dataclass(frozen=True)
class EngineOptions:
    """Options of the engine; the same for every cell of a run of the pipeline.

    backend:   loop (one seed after another), procs (one single-thread process per seed), graph
               (captured CUDA graphs, all seeds at once); auto chooses and says why
    precision: float32; tf32 (matrix units of NVIDIA cards); bf16 (autocast); float64 (for tests)
    compile:   pass the student through torch.compile: 20-70 s at the start, and less work per step
               where memory is the limit (`xkd bench` says how much); dropout draws otherwise then
    device:    auto takes CUDA where there is one
    threads:   cores the whole cell may use; procs has that many seeds at work at a time
    threads_per_seed: more than 1 shortens a single large run, at the price of sums in another
               order: results then agree with those of one thread only up to rounding
    checkpoint_minutes: at most this much work is lost when a job is killed
    teacher:   table (logits of every view, made beforehand), forward (a pass per step), or auto
    processes: that the rules start for a cell whose images stay in their files, by torchrun
    cells_per_gpu: jobs that may share a GPU of a machine without a scheduler
    """

    backend: str = "auto"
    precision: str = "float32"
    compile: bool = False
    device: str = "auto"
    threads: int = 1
    threads_per_seed: int = 1
    checkpoint_minutes: float = 1.0
    teacher: str = "auto"
    processes: int = 1
    cells_per_gpu: int = 1

    def __post_init__(self) -> None:
        for option, known in (
            ("backend", BACKENDS),
            ("precision", PRECISIONS),
            ("device", DEVICES),
            ("teacher", TEACHERS),
        ):
            if getattr(self, option) not in known:
                raise Refused(unknown(f"engine {option}", getattr(self, option), known))
        for option in ("threads", "threads_per_seed", "processes", "cells_per_gpu"):
            if getattr(self, option) < 1:
                raise Refused(f"engine {option} is {getattr(self, option)}; expected 1 or more")
        if self.checkpoint_minutes < 0:
            raise Refused(
                f"engine checkpoint_minutes is {self.checkpoint_minutes}; expected 0 (at every "
                "epoch) or more"
            )

    @property
    def arithmetic(self) -> str:
        """What of the options changes a run's bits: part of its fingerprint."""
        return f"{self.precision}, compiled" if self.compile else self.precision

    @classmethod
    def of(cls, given: dict[str, Any]) -> "EngineOptions":
        """From the config's `engine` section. Raises Refused for an option that does not exist."""
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise Refused(unknown("engine option", name, known))
        return cls(**given)


def team_size(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torchrun started together with this one; 1 without torchrun."""
    return int(environment.get("WORLD_SIZE", "1"))
