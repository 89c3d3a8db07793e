"""From settings to the modules that are trained: the student, its method and their context."""

import torch

from xkd import methods, networks
from xkd.methods.base import BaseMethod, BuildContext
from xkd.networks import Network
from xkd.plan.settings import CellSettings, DatasetSettings


def build_method(settings: CellSettings, teacher: Network | None) -> BaseMethod:
    """The cell's method around a fresh student; draws from torch's global generator.

    Args:
        teacher: only its shapes are read; needed where the method asks for features.
    """
    chosen = methods.load(settings.method.uses)
    options = settings.method.options
    extra = {theirs: options[ours] for theirs, ours in chosen.NETWORK.items()}

    def spawn() -> Network:
        return networks.build(settings.network, settings.dataset, **extra)

    student = spawn()
    student_features, student_blocks = shapes(student, settings.dataset)
    teacher_features, teacher_blocks = shapes(teacher, settings.dataset) if teacher else ((), ())
    context = BuildContext(
        classes=settings.dataset.classes,
        spawn=spawn,
        student_features=student_features,
        student_blocks=student_blocks,
        teacher_features=teacher_features,
        teacher_blocks=teacher_blocks,
    )
    return chosen(student, context, options)


@torch.no_grad()
def shapes(
    network: Network, dataset: DatasetSettings
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Shapes, without the batch, of a network's features and of its blocks."""
    weight = next(network.parameters())
    blank = weight.new_zeros(1, dataset.channels, dataset.size, dataset.size)
    training = network.training
    output = network.eval()(blank)
    network.train(training)
    features = tuple(tuple(feature.shape[1:]) for feature in output.features)
    return features, tuple(tuple(block.shape[1:]) for block in output.blocks)


def parameter_count(settings: CellSettings) -> int:
    """Trainable numbers of the student alone."""
    network = networks.build(settings.network, settings.dataset)
    return sum(weight.numel() for weight in network.parameters())
