"""Networks: one module per family, each with `build(channels, size, classes, **options)`."""

from importlib import import_module
from typing import Any

import torch

from xkd.networks.base import Network, Output
from xkd.plan.settings import DatasetSettings, NetworkSettings

__all__ = ["Network", "Output", "build"]


def build(network: NetworkSettings, dataset: DatasetSettings, **extra: object) -> Network:
    """A freshly initialised network; draws from torch's global generator.

    It takes images normalised as those of the data set, also where `network.normalisation` says
    that it was made for others.

    Args:
        extra: options that a method asks for (`dropout=0.1`), beyond those in the config.
    """
    family = import_module(f"xkd.networks.{network.family}")
    options = {**network.options, **extra}
    built = family.build(
        channels=dataset.channels, size=dataset.size, classes=dataset.classes, **options
    )
    if network.normalisation is not None:
        _renormalise(built, dataset, network.normalisation)
    return built


def _renormalise(
    network: Network, dataset: DatasetSettings, theirs: tuple[tuple[float, ...], ...]
) -> None:
    """Put x′ = (x·s + m − m′) / s′ before the network: m, s are the data set's, m′, s′ theirs."""
    ours = torch.tensor([dataset.mean, dataset.std], dtype=torch.float64)
    mean, std = torch.tensor(theirs, dtype=torch.float64)
    usual = torch.get_default_dtype()
    for name, value in (("input_scale", ours[1] / std), ("input_shift", (ours[0] - mean) / std)):
        network.register_buffer(name, value.to(usual)[:, None, None], persistent=False)
    network.register_forward_pre_hook(_as_they_had_them)


def _as_they_had_them(network: Network, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    images, *more = inputs
    return images * network.input_scale + network.input_shift, *more
