"""From settings to the modules that are trained: the student, its method and their context."""

from typing import Any

import torch
from torch import Tensor

from xkd import methods, networks
from xkd.methods.base import BaseMethod, BuildContext
from xkd.networks import Network
from xkd.plan.settings import CellSettings, DatasetSettings


def build_method(
    settings: CellSettings, teacher: Network | None, labels: Tensor | None = None
) -> BaseMethod:
    """The cell's method around a fresh student; draws from torch's global generator.

    Args:
        teacher: only its shapes and its classifier are read.
        labels: of the training images, [N].
    """
    chosen = methods.load(settings.method.uses)
    options = settings.method.options
    extra = {theirs: options[ours] for theirs, ours in chosen.NETWORK.items()}

    def spawn() -> Network:
        return networks.build(settings.network, settings.dataset, **extra)

    student = spawn()
    known = shapes(student, settings.dataset)
    described = {f"student_{part}": shape for part, shape in known.items()}
    if teacher:
        known = shapes(teacher, settings.dataset)
        described |= {f"teacher_{part}": shape for part, shape in known.items()}
        described["teacher_weight"] = teacher.classifier.weight.detach()
        described["teacher_bias"] = teacher.classifier.bias.detach()
    context = BuildContext(settings.dataset.classes, spawn, train_labels=labels, **described)
    return chosen(student, context, options)


@torch.no_grad()
def shapes(network: Network, dataset: DatasetSettings) -> dict[str, Any]:
    """Shapes, without the batch, of a network's features and blocks, and length of its embedding.

    By the names of `BuildContext`, without their first word.
    """
    weight = next(network.parameters())
    blank = weight.new_zeros(1, dataset.channels, dataset.size, dataset.size)
    training = network.training
    output = network.eval()(blank)
    network.train(training)
    return {
        "features": tuple(tuple(feature.shape[1:]) for feature in output.features),
        "blocks": tuple(tuple(block.shape[1:]) for block in output.blocks),
        "embedding": output.embedding.shape[1],
    }


def parameter_count(settings: CellSettings) -> int:
    """Trainable numbers of the student alone."""
    network = networks.build(settings.network, settings.dataset)
    return sum(weight.numel() for weight in network.parameters())
