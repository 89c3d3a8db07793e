"""Ways to train the seeds of a cell; each module has `train(job) -> {seed: reason it failed}`."""

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from xkd.engine.options import EngineOptions

AFFECTS_RESULTS = False


class Choice(NamedTuple):
    name: str
    why: str

    @property
    def module(self) -> ModuleType:
        return import_module(f"xkd.engine.backends.{self.name}")

    def at_once(self, seeds: int, options: EngineOptions) -> int:
        """How many of the seeds are in memory at the same time."""
        return {"loop": 1, "procs": min(seeds, options.threads)}.get(self.name, seeds)


def choose(options: EngineOptions, seeds: int, on_cuda: bool) -> Choice:
    """The backend that the options name; `auto` decides by device, seeds and threads."""
    if options.backend != "auto":
        return Choice(options.backend, "as configured")
    if on_cuda:
        return Choice("graph", "a CUDA device")
    if seeds > 1 and options.threads > 1:
        return Choice("procs", f"{seeds} seeds on {options.threads} threads")
    return Choice("loop", "one seed" if seeds == 1 else "one thread")
