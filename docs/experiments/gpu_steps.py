"""Microseconds per captured step and seed on a CUDA card; and what stacked seeds would take.

    PYTHONPATH=workflow python docs/experiments/gpu_steps.py [SECONDS]

Prints a line per way until the seconds (100 by default) are over: the engine's own steps of five
and ten seeds, on streams of their own; both memory layouts; and ResNet-8 networks of five seeds at
once, stacked along the channels. docs/engine.md tells what an H200 answered. With the `workflow` of
another version in PYTHONPATH it times that version's steps.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.bench.synthetic import MLP, RESNET8, RESNET20, BenchCells, Scale
from xkd.engine.runtime import Runtime
from xkd.engine.training import Training
from xkd.plan.settings import NetworkSettings

Body = Callable[[], object]
BATCH, WARMUP, REPLAYS = 128, 4, 100
STAGES = ((16, 16, 1), (16, 32, 2), (32, 64, 2))


class Stacked(nn.Module):
    """ResNet-8 for 32x32 images, of several seeds: their channels lie side by side, [B, S·C, h, w].

    Batch norm and ReLU of all seeds are then one pass. Convolutions are grouped, one group a seed
    (way `grouped`), or have block-diagonal weights (`dense`); `mixed` groups those of 64 channels.
    """

    def __init__(self, seeds: int, way: str) -> None:
        super().__init__()
        self.seeds, self.way = seeds, way
        self.shapes = [(3, 16, 3, 1)]  # channels in and out, side of the kernel, stride
        for wide, out, stride in STAGES:
            self.shapes += [(wide, out, 3, stride), (out, out, 3, 1)]
            if stride > 1:
                self.shapes.append((wide, out, 1, stride))
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(seeds, out, wide, k, k) * (2 / (out * k * k)) ** 0.5)
            for wide, out, k, _ in self.shapes
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(seeds * out) for _, out, _, _ in self.shapes)
        self.head = nn.Parameter(0.1 * torch.randn(seeds, 64, 10))
        self.bias = nn.Parameter(torch.zeros(seeds, 10))

    def convolve(self, layer: int, x: Tensor) -> Tensor:
        """One convolution and its batch norm, in the number format of x."""
        _, out, k, stride = self.shapes[layer]
        weight = self.weights[layer].to(x.dtype)
        if (
            self.seeds == 1
            or self.way == "grouped"
            or (self.way == "mixed" and (out, k) == (64, 3))
        ):
            weight, groups = weight.flatten(0, 1), self.seeds
        else:
            weight, groups = block_diagonal(weight), 1
        weight = weight.contiguous(memory_format=torch.channels_last)
        y = F.conv2d(x, weight, None, stride, k // 2, groups=groups)
        norm = self.norms[layer]
        statistics = norm.running_mean, norm.running_var
        return F.batch_norm(y, *statistics, norm.weight, norm.bias, True, 0.1, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, S·3, 32, 32]. Returns: logits, [B, S, 10]."""
        x, layer = F.relu(self.convolve(0, x), inplace=True), 1
        for _, _, stride in STAGES:
            y = F.relu(self.convolve(layer, x), inplace=True)
            y = self.convolve(layer + 1, y)
            x = F.relu(y + (self.convolve(layer + 2, x) if stride > 1 else x), inplace=True)
            layer += 3 if stride > 1 else 2
        means = x.to(self.head.dtype).mean((2, 3)).unflatten(1, (self.seeds, 64))
        return torch.einsum("bsd,sdc->bsc", means, self.head) + self.bias


def block_diagonal(weight: Tensor) -> Tensor:
    """[S, out, in, k, k] as [S·out, S·in, k, k], zero between seeds."""
    seeds, out, wide, *sides = weight.shape
    each = torch.arange(seeds, device=weight.device)
    full = weight.new_zeros(seeds, seeds, out, wide, *sides).index_put((each, each), weight)
    return full.transpose(1, 2).reshape(seeds * out, seeds * wide, *sides)


def stacked_step(seeds: int, way: str, precision: str, compiled: bool = False) -> Body:
    """Forward pass, backward pass and SGD with momentum on fixed random images."""
    torch.manual_seed(0)
    network = Stacked(seeds, way).cuda()
    half = precision == "bf16"
    layout = torch.channels_last if half else torch.contiguous_format
    images = torch.randn(BATCH, seeds * 3, 32, 32, device="cuda")
    images = images.to(torch.bfloat16 if half else torch.float32, memory_format=layout)
    labels = torch.randint(10, (BATCH * seeds,), device="cuda")
    weights, one = list(network.parameters()), torch.ones((), device="cuda")
    moments = [torch.zeros_like(weight) for weight in weights]

    def loss() -> Tensor:
        return F.cross_entropy(network(images).flatten(0, 1), labels, reduction="sum") / BATCH

    call = torch.compile(loss) if compiled else loss

    def step() -> None:
        for weight in weights:
            weight.grad = None
        call().backward(one)
        with torch.no_grad():
            gradients = [weight.grad for weight in weights]
            torch._foreach_add_(gradients, weights, alpha=1e-4)
            torch._foreach_mul_(moments, 0.9)
            torch._foreach_add_(moments, gradients)
            torch._foreach_add_(weights, moments, alpha=-0.01)

    return step


def engine_step(uses: str, network: NetworkSettings, precision: str, seed: int) -> Body:
    """A step of the engine, on fixed images and views."""
    cells = BenchCells("cuda", Scale(images=20 * BATCH, scored=BATCH))
    settings, runtime = cells.settings(uses, network), cells.runtime(precision)
    runtime.prepare()
    data, teacher = cells.cell_data(settings.dataset, runtime), cells.teacher(settings, runtime)
    training = Training(settings, seed, data, teacher, runtime)
    training.one = torch.ones((), device="cuda", dtype=runtime.dtype)
    training.begin_epoch()
    index, view = (each[: settings.recipe.batch].clone() for each in training.batches[0])
    return partial(training.step, index, view)


def microseconds(bodies: list[Body]) -> tuple[float, float]:
    """Of a replay of the first body alone, and of one of all on streams of their own, per body."""
    streams, graphs = [torch.cuda.Stream() for _ in bodies], []
    for body, stream in zip(bodies, streams, strict=True):
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP):
                body()
        torch.cuda.synchronize()
        graphs.append(torch.cuda.CUDAGraph())
        with torch.cuda.graph(graphs[-1], stream=stream):
            body()

    def all_at_once() -> None:
        for graph, stream in zip(graphs, streams, strict=True):
            with torch.cuda.stream(stream):
                graph.replay()

    return timed(graphs[0].replay), timed(all_at_once) / len(bodies)


def timed(replay: Body) -> float:
    """Microseconds of one replay, of many in a row."""
    replay()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(REPLAYS):
        replay()
    torch.cuda.synchronize()
    return 1e6 * (time.perf_counter() - began) / REPLAYS


def ways() -> dict[str, Callable[[], tuple[int, list[Body]]]]:
    """By what is printed: seeds of a body, and bodies that run side by side."""

    def engine(count: int, *cell: object) -> tuple[int, list[Body]]:
        return 1, [engine_step(*cell, seed) for seed in range(count)]

    def stacked(seeds: int, streams: int, *how: object) -> tuple[int, list[Body]]:
        return seeds, [stacked_step(seeds, *how) for _ in range(streams)]

    def layout(name: str, *cell: object) -> tuple[int, list[Body]]:
        usual = Runtime.layout
        Runtime.layout = property(lambda runtime: getattr(torch, name))
        try:
            return engine(5, *cell)
        finally:
            Runtime.layout = usual

    found = {
        "engine, ResNet-8, bf16, five seeds": partial(engine, 5, "ce", RESNET8, "bf16"),
        "engine, ResNet-8, bf16, ten seeds": partial(engine, 10, "ce", RESNET8, "bf16"),
        "engine, MLP, float32, five seeds": partial(engine, 5, "ce", MLP, "float32"),
        "one by one, bf16": partial(stacked, 1, 5, "grouped", "bf16"),
        "stacked, dense, bf16": partial(stacked, 5, 1, "dense", "bf16"),
        "stacked, grouped, bf16": partial(stacked, 5, 1, "grouped", "bf16"),
        "stacked, mixed, bf16": partial(stacked, 5, 1, "mixed", "bf16"),
        "stacked, dense, bf16, two streams": partial(stacked, 5, 2, "dense", "bf16"),
        "one by one, float32": partial(stacked, 1, 5, "grouped", "float32"),
        "stacked, grouped, float32": partial(stacked, 5, 1, "grouped", "float32"),
        "stacked, dense, bf16, compiled": partial(stacked, 5, 1, "dense", "bf16", True),
    }
    for network, label in ((RESNET8, "ResNet-8"), (RESNET20, "ResNet-20")):
        for precision in ("float32", "tf32", "bf16"):
            for name in ("contiguous_format", "channels_last"):
                made = partial(layout, name, "ce", network, precision)
                found[f"engine, {label}, {precision}, {name}"] = made
    return found


def main() -> None:
    end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 100)
    torch.backends.cudnn.benchmark = True
    print(torch.__version__, torch.cuda.get_device_name())
    print(f"{'':44} {'alone':>8} {'a seed':>8}")
    for name, make in ways().items():
        if time.monotonic() > end:
            print("no time for", name)
            continue
        seeds, bodies = make()
        alone, side_by_side = microseconds(bodies)
        print(f"{name:44} {alone:8.1f} {side_by_side / seeds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
