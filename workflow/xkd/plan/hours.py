"""About how long the runs of an item train: hours of a GPU, or of one CPU core."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from xkd.plan import costs
from xkd.plan.grid import Plan
from xkd.plan.runs import Run
from xkd.plan.settings import CellSettings

AFFECTS_RESULTS = False


@dataclass(frozen=True)
class Hours:
    """Of a GPU and of a core; a cell asks for one or the other."""

    gpu: float = 0.0
    core: float = 0.0

    def __add__(self, other: "Hours") -> "Hours":
        return Hours(self.gpu + other.gpu, self.core + other.core)

    def __str__(self) -> str:
        """`12 GPU h`, `0.3 core h`, `12 GPU h + 0.3 core h`, `-`."""
        parts = [(self.gpu, "GPU h"), (self.core, "core h")]
        return " + ".join(f"{_rough(hours)} {unit}" for hours, unit in parts if hours) or "-"


def _rough(hours: float) -> str:
    """Two digits, `1,200` and `0.028`."""
    return f"{hours:.2g}" if hours < 100 else f"{round(hours, -len(str(int(hours))) + 2):,.0f}"


def of(runs: Iterable[Run], plan: Plan) -> Hours:
    """Of training these runs, a cell's seeds together; weights that are imported take none."""
    total = Hours()
    for cell, seeds in groupby(sorted(runs, key=str), key=lambda run: run.cell):
        settings = replace(plan.cells[cell], seeds=tuple(run.seed for run in seeds))
        if settings.weights is None:
            total += _of_cell(settings, plan.config["engine"])
    return total


def _of_cell(settings: CellSettings, engine: Mapping[str, Any]) -> Hours:
    demand = costs.training(settings, engine)
    if demand.gpu:
        return Hours(gpu=costs.gpu_hours(settings, engine)[0])
    return Hours(core=demand.threads * demand.seconds / 3600)
