"""What is measured on a CUDA card: cells of five seeds, by wall, their first epoch left out."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from xkd.bench.measuring import PEER, Figure, Spread, Target, alternate, compare
from xkd.bench.rows import Row
from xkd.bench.synthetic import FULL, MLP, RESNET20, BenchCells
from xkd.bench.whole_cells import Watch, train
from xkd.engine.options import EngineOptions
from xkd.plan.settings import CellSettings, NetworkSettings

HOW = (
    "Five seeds, synthetic images, scoring included; the wall from the end of the first epoch to "
    "that of the last. Peer and candidate take turns in one process."
)
SCALE = replace(FULL, images=12_800, scored=2_560)
EPOCHS = 3  # the first warms up and captures
COPIED = 2**30  # bytes, to measure bandwidth with
CONVOLUTION_PASSES, WEIGHT_PASSES = 14, 8


class CellHere:
    """A side whose step is a whole cell in this process, timed without its first epoch."""

    def __init__(self, cells: BenchCells, settings: CellSettings, options: EngineOptions) -> None:
        self.arguments = cells, settings, options

    def measure(self, steps: int) -> float:
        """Returns: seconds per step of training and seed."""
        cells, settings, _ = self.arguments
        updates = -(-cells.scale.images // settings.recipe.batch) * (settings.recipe.epochs - 1)
        seconds = 0.0
        for _ in range(steps):
            train(*self.arguments, watch := Watch())
            seconds += watch.seconds_after_first_epoch()
        return seconds / (steps * updates * len(settings.seeds))

    def close(self) -> None: ...


def five_seeds(
    network: NetworkSettings,
    cells: BenchCells,
    targets: Mapping[str, Target],
    backend: str = "graph",
) -> dict[str, Figure]:
    """All at once, against one eager seed after another; and against the card's bandwidth.

    A target named `bound` compares with `least_seconds`, the others with the eager loop.
    """
    settings = cell(cells, network)
    figures = {}
    for precision in dict.fromkeys(name.split()[0] for name in targets):
        ways = {PEER: "loop", precision: backend}
        sides = {
            side: CellHere(cells, settings, EngineOptions(way, precision, device=cells.device))
            for side, way in ways.items()
        }
        taken = alternate(sides, replace(cells.scale.effort, per_round=0))  # one cell is a turn
        figures |= compare(taken, {precision: targets[precision]})
        if (name := f"{precision} bound") in targets:
            least = [least_seconds(cells, settings)] * len(taken[precision])
            figures |= compare({PEER: least, name: taken[precision]}, {name: targets[name]})
    return figures


def cell(cells: BenchCells, network: NetworkSettings) -> CellSettings:
    """Cross-entropy, five seeds."""
    settings = cells.settings("ce", network)
    return replace(settings, recipe=replace(settings.recipe, epochs=EPOCHS))


def least_seconds(cells: BenchCells, settings: CellSettings) -> float:
    """Seconds that a step of one seed takes if it does nothing but move its bytes."""
    moved = bytes_per_step(cells.network(settings), settings)
    return moved / copy_bandwidth(torch.device(cells.device), COPIED)


@torch.no_grad()
def bytes_per_step(network: nn.Module, settings: CellSettings) -> int:
    """What a step must move through memory, batch normalisation not fused.

    14 passes in bfloat16 over the output of every convolution. A perceptron's small batches leave
    its weights: 8 passes in float32, two to use them, one to write the gradient, five to update.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        return WEIGHT_PASSES * 4 * sum(weight.numel() for weight in network.parameters())
    sizes: list[int] = []
    hooks = [
        convolution.register_forward_hook(lambda *call: sizes.append(call[2].numel()))
        for convolution in convolutions
    ]
    dataset = settings.dataset
    network.eval()(torch.zeros(1, dataset.channels, dataset.size, dataset.size))
    for hook in hooks:
        hook.remove()
    return CONVOLUTION_PASSES * 2 * sum(sizes) * settings.recipe.batch


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Bytes read and written per second by a large copy."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(12):
        began = _now(device)
        target.copy_(source)
        seconds.append(_now(device) - began)
    return 2 * size / Spread.of(seconds[2:]).median


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


ROWS = {
    "resnet20_cell": Row(
        partial(five_seeds, RESNET20),
        {
            "float32": Target("ResNet-20, graph", "loop", "speed", 5),
            "float32 bound": Target("ResNet-20, graph", "bytes it must move", "cost"),
            "bf16": Target("ResNet-20, graph, bf16", "loop, bf16", "speed", 5),
            "bf16 bound": Target("ResNet-20, graph, bf16", "bytes it must move", "cost", 4),
        },
    ),
    "mlp_cell": Row(
        partial(five_seeds, MLP),
        {
            "float32": Target("MNIST MLP, graph", "loop", "speed", 10),
            "float32 bound": Target("MNIST MLP, graph", "bytes it must move", "cost", 4),
        },
    ),
}
