"""What is measured on a CUDA card: whole cells, by wall, their first epoch left out."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from xkd.bench.measuring import PEER, Clock, Effort, Figure, Side, Spread, Target, compare
from xkd.bench.rows import Row
from xkd.bench.synthetic import MLP, RESNET8, RESNET20, BenchCells, Scale
from xkd.bench.whole_cells import Watch, train
from xkd.engine.options import EngineOptions
from xkd.plan.settings import CellSettings, NetworkSettings

HOW = (
    "Whole cells on synthetic images, scoring included: five seeds at once as captured graphs, "
    "beside one seed in eager steps; seconds per step and seed, by the wall from the end of the "
    "first epoch to that of the last. Peer and candidate take turns in one process."
)
SCALE = Scale(images=12_800, scored=2_560, effort=Effort(rounds=3))
QUICK = replace(SCALE, effort=Effort(rounds=1))
SECONDS, QUICK_SECONDS = 210, 45  # after which no further cell is begun
EPOCHS, QUICK_EPOCHS = 3, 2  # the first warms up and captures
EAGER = 5  # times fewer images where no graph is captured: the steps take long enough
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
    """Five seeds at once against eager steps of one, by precision; and the card's bandwidth.

    A target named `bound` compares with `least_seconds`, the others with the eager loop.
    """
    settings, few = cell(cells, "ce", network), fewer(cells)
    one, figures = replace(settings, seeds=(0,)), {}
    for precision in dict.fromkeys(name.split()[0] for name in targets):
        eager, ours = (
            EngineOptions(way, precision, device=cells.device) for way in ("loop", backend)
        )
        sides = {PEER: CellHere(few, one, eager), precision: CellHere(cells, settings, ours)}
        taken = in_turn(sides, cells.scale.effort.rounds, cells.clock)
        if not taken[precision]:
            continue
        figures |= compare(taken, {precision: targets[precision]})
        if (name := f"{precision} bound") in targets:
            least = [least_seconds(cells, settings)] * len(taken[precision])
            figures |= compare({PEER: least, name: taken[precision]}, {name: targets[name]})
    return figures


def beside_ce(
    uses: str, cells: BenchCells, targets: Mapping[str, Target], backend: str = "graph"
) -> dict[str, Figure]:
    """What a method costs on top of cross-entropy, ResNet-8, five seeds of either, by precision."""
    figures = {}
    for precision in targets:
        options = EngineOptions(backend, precision, device=cells.device)
        sides = {
            side: CellHere(cells, cell(cells, method, RESNET8), options)
            for side, method in ((PEER, "ce"), (precision, uses))
        }
        taken = in_turn(sides, cells.scale.effort.rounds, cells.clock)
        if taken[precision]:
            figures |= compare(taken, {precision: targets[precision]})
    return figures


def in_turn(sides: Mapping[str, Side], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Seconds per step of every side, round by round, in reverse order in every second one.

    No round begins when the time is over, so that all sides have as many, perhaps none.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds):
        if clock.over:
            break
        for name in order:
            taken[name].append(sides[name].measure(1))
        order.reverse()
    return taken


def cell(cells: BenchCells, uses: str, network: NetworkSettings) -> CellSettings:
    """Five seeds; two epochs for a single round, three for several."""
    settings = cells.settings(uses, network)
    epochs = EPOCHS if cells.scale.effort.rounds > 1 else QUICK_EPOCHS
    return replace(settings, recipe=replace(settings.recipe, epochs=epochs))


def fewer(cells: BenchCells) -> BenchCells:
    """For eager cells: a fifth of the images."""
    scale = replace(cells.scale, images=max(1, cells.scale.images // EAGER))
    return BenchCells(cells.device, scale, cells.clock)


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


def _five_seeds(network: NetworkSettings, label: str, speeds: Mapping[str, float]) -> Row:
    """The row of a network; speeds: by precision, what is promised over the eager loop."""
    targets = {}
    for precision, speed in speeds.items():
        ours = f"{label}, {precision}"
        targets[precision] = Target(ours, "eager steps", "speed", speed)
        limit = None if precision in ("float32", "tf32") and network.family != "mlp" else 4
        targets[f"{precision} bound"] = Target(ours, "bytes it must move", "cost", limit)
    return Row(partial(five_seeds, network), targets)


def _beside_ce(uses: str, label: str, limit: float | None) -> Row:
    targets = {
        precision: Target(f"{label}, ResNet-8, {precision}", "CE", "cost", limit)
        for precision in ("bf16", "float32")
    }
    return Row(partial(beside_ce, uses), targets)


#: The most telling first: what there is no time for is left out.
ROWS = {
    "resnet8_cell": _five_seeds(RESNET8, "ResNet-8", {"bf16": 5, "float32": 5, "tf32": 5}),
    "mlp_cell": _five_seeds(MLP, "MNIST MLP", {"float32": 10, "bf16": 10, "tf32": 10}),
    "le_gradcam_cell": _beside_ce("le", "LE(Grad-CAM)", None),
    "teacher_table_cell": _beside_ce("kd", "KD from a table", None),
    "resnet20_cell": _five_seeds(RESNET20, "ResNet-20", {"bf16": 5, "float32": 5, "tf32": 5}),
}
