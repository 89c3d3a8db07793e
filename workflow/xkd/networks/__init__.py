"""Networks: one module per family, each with `build(channels, size, classes, **options)`."""

from importlib import import_module

from xkd.networks.base import Network, Output
from xkd.plan.settings import DatasetSettings, NetworkSettings

__all__ = ["Network", "Output", "build"]


def build(network: NetworkSettings, dataset: DatasetSettings, **extra: object) -> Network:
    """A freshly initialised network; draws from torch's global generator.

    Args:
        extra: options that a method asks for (`dropout=0.1`), beyond those in the config.
    """
    family = import_module(f"xkd.networks.{network.family}")
    options = {**network.options, **extra}
    return family.build(
        channels=dataset.channels, size=dataset.size, classes=dataset.classes, **options
    )
