"""Ways to train the seeds of a cell; each module has `train(job) -> {seed: reason it failed}`."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from xkd.engine.options import EngineOptions
from xkd.errors import Refused

if TYPE_CHECKING:
    from xkd.engine.job import Job

AFFECTS_RESULTS = False


class Choice(NamedTuple):
    name: str
    why: str

    @property
    def module(self) -> ModuleType:
        return import_module(f"xkd.engine.backends.{self.name}")

    def describe(self) -> dict[str, str]:
        """For the run card."""
        return {"backend": self.name, "why": self.why}

    def at_once(self, seeds: int, options: EngineOptions) -> int:
        """How many of the seeds are at work at the same time."""
        few = {"loop": 1, "ddp": 1, "procs": min(seeds, options.threads)}
        return few.get(self.name, seeds)


def choose(
    options: EngineOptions, seeds: int, on_cuda: bool, team: int = 1, streamed: bool = False
) -> Choice:
    """The backend that the options name; `auto` decides by device, seeds and threads.

    Args:
        team: processes that torchrun started together.
        streamed: whether images are read from their files at every step.
    Raises: Refused when the backend that is named cannot do what is asked.
    """
    if team > 1 and options.backend != "auto":
        raise Refused(
            f"engine backend '{options.backend}' trains in one process, and torchrun started "
            f"{team}; take backend 'auto', or start without torchrun"
        )
    if options.backend == "graph" and streamed:
        raise Refused(
            "engine backend 'graph' holds all images on the GPU, and this data set stays in its "
            "files; take backend 'auto'"
        )
    if team > 1:
        return Choice("ddp", f"torchrun started {team} processes")
    if options.backend != "auto":
        return Choice(options.backend, "as configured")
    if streamed:
        return Choice("loop", "pictures stay in their files")
    if on_cuda:
        return Choice("graph", "a CUDA device")
    if seeds > 1 and options.threads > 1:
        return Choice("procs", f"{seeds} seeds on {options.threads} threads")
    return Choice("loop", "one seed" if seeds == 1 else "one thread")


def calibrated(choice: Choice, job: "Job") -> Choice:
    """The same, or `loop` where a trial shows that seeds side by side gain nothing on this machine.

    Only where `auto` chose `procs` for a job long enough to be worth the trial. On CUDA, `graph`
    tries by itself whether steps can be captured.
    """
    from xkd.engine.backends import trial

    at_once = choice.at_once(len(job.seeds), job.options)
    wanted = job.options.backend == "auto" and choice.name == "procs"
    if not wanted or trial.steps(job) < trial.FROM_STEPS:
        return choice
    if (gain := trial.gain(job, at_once)) is None:
        return choice
    why = f"{at_once} at once take {gain:.2f} times the steps of one"
    if gain < trial.WORTHWHILE:
        return Choice("loop", why)
    return choice._replace(why=f"{choice.why}; {why}")
