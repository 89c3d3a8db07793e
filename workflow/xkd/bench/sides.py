"""Whose steps are timed: the engine's, and those of the peers. Each function here makes a `Build`.

What processes can share, images and tables, is made when the function is called; the rest is made
in the process of the side.
"""

from collections.abc import Callable, Iterator
from functools import partial, reduce

import torch
from torch import Tensor, nn

from xkd.bench import peers
from xkd.bench.ground import Ground
from xkd.bench.measuring import Build, Step
from xkd.data.stream import Stream
from xkd.settings import CellSettings

Source = Iterator[tuple[Tensor, Tensor]]


def engine(
    ground: Ground,
    settings: CellSettings,
    precision: str = "float32",
    stage: int = 0,
    compiled: bool = False,
) -> Build:
    """A step of the engine, from the gathered batch to the update."""
    ground.warm(settings)
    return partial(ground.steps, settings, precision, stage, compiled)


def naive(
    ground: Ground, settings: CellSettings, peer: Callable[..., peers.Vanilla] = peers.Vanilla
) -> Build:
    """A peer's step, from the loader to the update."""
    ground.pictures(settings.dataset)
    return lambda: _step(peer, ground, settings, _loaded(ground, settings))


def ready(ground: Ground, settings: CellSettings, peer: Callable[..., peers.Vanilla]) -> Build:
    """A peer's step on batches that lie ready, so that no loader counts."""
    ground.warm(settings)
    return lambda: _step(peer, ground, settings, _lying_ready(ground, settings))


def gathered(ground: Ground, settings: CellSettings) -> Build:
    """Nothing but the engine's batch."""
    resident = ground.material(settings.dataset, ground.runtime()).train

    def build() -> Step:
        ground.runtime().prepare()
        plan = peers.endless(Stream(resident, settings.recipe.batch, seed=0).epoch(1))
        return lambda: resident.batch(*next(plan))

    return build


def loaded(ground: Ground, settings: CellSettings) -> Build:
    """Nothing but a batch from the loader."""
    ground.pictures(settings.dataset)
    return lambda: partial(next, _loaded(ground, settings))


def convolutions(ground: Ground, settings: CellSettings) -> Build:
    """Nothing but the convolutions of a residual network, there and back."""
    ground.warm(settings)

    def build() -> Step:
        runtime = ground.runtime()
        runtime.prepare()
        network = ground.network(settings)
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.BatchNorm2d | nn.ReLU):
                network.set_submodule(name, nn.Identity())
        network = runtime.place(network)
        train = ground.material(settings.dataset, runtime).train
        images, _ = train.batch(*next(iter(Stream(train, settings.recipe.batch, seed=0).epoch(1))))
        return lambda: network(images).logits.sum().backward()

    return build


def products(ground: Ground, settings: CellSettings) -> Build:
    """Nothing but the matrix products that the maps of LE(Grad) on a perceptron are made of."""

    def build() -> Step:
        ground.runtime().prepare()
        network = ground.network(settings).requires_grad_(False)
        rows = torch.randn(
            settings.recipe.batch * settings.dataset.classes, network.classifier.in_features
        )
        layers = [layer.weight for layer in reversed(network.hidden)]
        return lambda: reduce(torch.mm, layers, rows)

    return build


def _loaded(ground: Ground, settings: CellSettings) -> Source:
    pictures = peers.Pictures(*ground.pictures(settings.dataset), settings.dataset)
    return peers.endless(peers.loader(pictures, settings.recipe.batch))


def _lying_ready(ground: Ground, settings: CellSettings, count: int = 4) -> Source:
    """Some batches, over and over, in the memory format that loaders leave them in."""
    train = ground.material(settings.dataset, ground.runtime()).train
    plan = list(Stream(train, settings.recipe.batch, seed=0).epoch(1))[:count]
    batches = [train.batch(index, view) for index, view in plan]
    return peers.endless([(images.contiguous(), labels) for images, labels in batches])


def _step(
    peer: Callable[..., peers.Vanilla], ground: Ground, settings: CellSettings, source: Source
) -> Step:
    update = peer(ground.network(settings), recipe=settings.recipe)

    def step() -> None:
        images, labels = next(source)
        update(images.detach(), labels)  # detached: some peers ask for its gradient

    return step
