"""Whose steps are timed: the engine's, and those of the peers. Each function here makes a `Build`.

What processes can share, images and tables, is made when the function is called; the rest is made
in the process of the side.
"""

from collections.abc import Callable, Iterator
from functools import partial, reduce

import torch
from torch import Tensor, nn

from xkd.bench import peers
from xkd.bench.measuring import Build, Step
from xkd.bench.synthetic import BenchCells
from xkd.data.stream import Stream
from xkd.plan.settings import CellSettings

Source = Iterator[tuple[Tensor, Tensor]]


def engine(
    cells: BenchCells,
    settings: CellSettings,
    precision: str = "float32",
    stage: int = 0,
    compiled: bool = False,
) -> Build:
    """A step of the engine, from the gathered batch to the update."""
    cells.warm(settings)
    return partial(cells.steps, settings, precision, stage, compiled)


def naive(
    cells: BenchCells, settings: CellSettings, peer: Callable[..., peers.Vanilla] = peers.Vanilla
) -> Build:
    """A peer's step, from the loader to the update."""
    cells.pictures(settings.dataset)
    return lambda: _step(peer, cells, settings, _loaded(cells, settings))


def ready(cells: BenchCells, settings: CellSettings, peer: Callable[..., peers.Vanilla]) -> Build:
    """A peer's step on batches that lie ready, so that no loader counts."""
    cells.warm(settings)
    return lambda: _step(peer, cells, settings, _lying_ready(cells, settings))


def gathered(cells: BenchCells, settings: CellSettings) -> Build:
    """Nothing but the engine's batch."""
    resident = cells.cell_data(settings.dataset, cells.runtime()).train

    def build() -> Step:
        cells.runtime().prepare()
        plan = peers.endless(Stream(resident, settings.recipe.batch, seed=0).epoch(1))
        return lambda: resident.batch(*next(plan))

    return build


def loaded(cells: BenchCells, settings: CellSettings) -> Build:
    """Nothing but a batch from the loader."""
    cells.pictures(settings.dataset)
    return lambda: partial(next, _loaded(cells, settings))


def convolutions(cells: BenchCells, settings: CellSettings) -> Build:
    """Nothing but the convolutions of a residual network, there and back."""
    cells.warm(settings)

    def build() -> Step:
        runtime = cells.runtime()
        runtime.prepare()
        network = cells.network(settings)
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.BatchNorm2d | nn.ReLU):
                network.set_submodule(name, nn.Identity())
        network = runtime.place(network)
        train = cells.cell_data(settings.dataset, runtime).train
        images, _ = train.batch(*next(iter(Stream(train, settings.recipe.batch, seed=0).epoch(1))))
        return lambda: network(images).logits.sum().backward()

    return build


def products(cells: BenchCells, settings: CellSettings) -> Build:
    """Nothing but the matrix products that the maps of LE(Grad) on a perceptron are made of."""

    def build() -> Step:
        cells.runtime().prepare()
        network = cells.network(settings).requires_grad_(False)
        rows = torch.randn(
            settings.recipe.batch * settings.dataset.classes, network.classifier.in_features
        )
        layers = [layer.weight for layer in reversed(network.hidden)]
        return lambda: reduce(torch.mm, layers, rows)

    return build


def _loaded(cells: BenchCells, settings: CellSettings) -> Source:
    pictures = peers.Pictures(*cells.pictures(settings.dataset), settings.dataset)
    return peers.endless(peers.loader(pictures, settings.recipe.batch))


def _lying_ready(cells: BenchCells, settings: CellSettings, count: int = 4) -> Source:
    """Some batches, over and over, in the memory format that loaders leave them in."""
    train = cells.cell_data(settings.dataset, cells.runtime()).train
    plan = list(Stream(train, settings.recipe.batch, seed=0).epoch(1))[:count]
    batches = [train.batch(index, view) for index, view in plan]
    return peers.endless([(images.contiguous(), labels) for images, labels in batches])


def _step(
    peer: Callable[..., peers.Vanilla], cells: BenchCells, settings: CellSettings, source: Source
) -> Step:
    update = peer(cells.network(settings), recipe=settings.recipe)

    def step() -> None:
        images, labels = next(source)
        update(images.detach(), labels)  # detached: some peers ask for its gradient

    return step
