"""How many operations a captured step launches, counted on a CPU, where no GPU is needed.

A small network's step on a GPU takes as long as its launches and the gaps between them, so their
number is worth as much care as their arithmetic. The dispatcher sees every operation of the forward
pass, the backward pass and the update. What moves nothing (views, empty tensors) does not count.
One operation may be several kernels (batch norm is three) or serve many tensors (`_foreach_`, the
update).
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from xkd.bench.measuring import Figure, Spread, Target
from xkd.bench.synthetic import MLP, RESNET8, RESNET20, BenchCells, Scale
from xkd.bench.whole_cells import Watch, cell_job
from xkd.engine.backends.graph import SeedGraphs
from xkd.engine.options import EngineOptions
from xkd.engine.stopping import Stop
from xkd.plan.settings import CellSettings, NetworkSettings

BATCHES = 2  # of the smallest epoch that is captured like a real one
UNLAUNCHED = ("empty", "new_empty", "promote_types", "is_same_size", "_local_scalar_dense")


class Launches(TorchDispatchMode):
    """Counts, by name, the operations inside that a GPU would have to launch."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = operation.overloadpacket.__name__
        if not operation.is_view and not name.startswith(UNLAUNCHED):
            self.counts[name] += 1
        return operation(*arguments, **(options or {}))


class CountingDevice:
    """Takes the place of `xkd.engine.backends.cuda.Cuda`: a body is run once, and counted."""

    def __init__(self) -> None:
        self.captured: list[Counter[str]] = []

    def stream(self) -> None: ...

    def pool(self) -> None: ...

    def wait(self, stream: None) -> None: ...

    @contextlib.contextmanager
    def on(self, stream: None) -> Iterator[None]:
        yield

    def generator(self) -> torch.Generator:
        return torch.Generator()

    def capture(self, body: Callable[[], None], *place: object) -> None:
        with Launches() as launches:
            body()
        self.captured.append(launches.counts)


def launches(cells: BenchCells, settings: CellSettings, precision: str) -> Counter[str]:
    """Operations of one captured step of one seed, by name."""
    batch = settings.recipe.batch
    small = BenchCells(cells.device, Scale(images=BATCHES * batch, scored=batch, batch=batch))
    options = EngineOptions("loop", precision, device="cpu")
    device = CountingDevice()
    with tempfile.TemporaryDirectory(prefix="xkd-bench-") as folder, Stop() as stop:
        one = replace(settings, seeds=(0,))
        job = cell_job(small, one, options, Watch(), Path(folder), stop)
        SeedGraphs(job, 0, device).begin()
    return device.captured[0]


def count(cells: BenchCells, targets: Mapping[str, Target]) -> dict[str, Figure]:
    """The number of operations, for every step and precision that a target names."""
    figures = {}
    for name in targets:
        step, _, precision = name.rpartition(", ")
        found = launches(cells, STEPS[step].settings(cells), precision)
        figures[name] = Figure(Spread.of([float(found.total())]), 1)
    return figures


@dataclass(frozen=True)
class Step:
    """What is counted, and how many operations it may launch, by precision."""

    uses: str
    network: NetworkSettings
    most: Mapping[str, int]
    options: Mapping[str, str] = field(default_factory=dict)

    def settings(self, cells: BenchCells) -> CellSettings:
        return cells.settings(self.uses, self.network, **self.options)


GRAD, GRADCAM = {"explanation": "grad"}, {"explanation": "gradcam"}
STEPS = {
    "MLP, CE": Step("ce", MLP, {"float32": 36, "bf16": 41}),
    "MLP, LE(Grad)": Step("le", MLP, {"float32": 87, "bf16": 98}, GRAD),
    "MLP, KD": Step("kd", MLP, {"float32": 58, "bf16": 65}),
    "ResNet-8, CE": Step("ce", RESNET8, {"float32": 84, "bf16": 89}),
    "ResNet-8, LE(Grad-CAM)": Step("le", RESNET8, {"float32": 132, "bf16": 141}, GRADCAM),
    "ResNet-8, KD": Step("kd", RESNET8, {"float32": 106, "bf16": 113}),
    "ResNet-20, CE": Step("ce", RESNET20, {"float32": 168, "bf16": 173}),
    "ResNet-20, LE(Grad-CAM)": Step("le", RESNET20, {"float32": 216, "bf16": 225}, GRADCAM),
    "ResNet-20, KD": Step("kd", RESNET20, {"float32": 190, "bf16": 197}),
}
TARGETS = {
    f"{name}, {precision}": Target(
        f"captured step, {name}, {precision}", "operations launched", "operations", most
    )
    for name, step in STEPS.items()
    for precision, most in step.most.items()
}
