"""Arithmetic of a network's pass, from its settings alone."""

from collections.abc import Mapping
from itertools import pairwise
from math import ceil
from typing import Any

from xkd.plan.settings import DatasetSettings, NetworkSettings

AFFECTS_RESULTS = False

#: Residual blocks per stage of the ImageNet ResNets.
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
WIDTHS = (16, 32, 64)  # of the stages of the CIFAR ResNets


def forward_gflop(network: NetworkSettings, data: DatasetSettings) -> float:
    """10⁹ operations of one image's forward pass; a multiply-add counts as two."""
    return 2e-9 * sum(products for products, _ in layers(network, data))


def layers(network: NetworkSettings, data: DatasetSettings) -> list[tuple[float, float]]:
    """Multiplications and numbers that come out, per layer and image."""
    options, size, channels = network.options, data.size, data.channels
    if network.family == "mlp":
        widths = [channels * size**2, *options["hidden"], data.classes]
        return [(a * b, b) for a, b in pairwise(widths)]
    if options.get("stem") == "imagenet":
        size = ceil(size / 4)
    found = []
    if network.family == "resnet":  # the stem, mostly as wide as the first stage
        width = options.get("stem_width") or options.get("widths", WIDTHS)[0]
        found.append((9 * channels * width * size**2, width * size**2))
        channels = width
    for width, convolutions in _stages(network.family, options):
        if network.family == "resnet" and width != channels and options.get("shortcut") != "A":
            found.append((channels * width * size**2, width * size**2))
        for _ in range(convolutions):
            found.append((9 * channels * width * size**2, width * size**2))
            channels = width
        size = ceil(size / 2)
    return found


def _stages(family: str, options: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Width and number of 3x3 convolutions of the stages; every stage halves the maps."""
    family = options.get("trunk", family)  # what is built around a trunk adds little to it
    if family == "resnet":
        per_stage = (options["depth"] - 2) // 3
        return [(width, per_stage) for width in options.get("widths", WIDTHS)]
    if family == "plane_cnn":
        if options["convolutions"] == 10:
            return [(32, 2), (64, 2), (128, 2), (256, 4)]
        return [(16, 2), (32, 2), (64, 2), (128, 2)][: options["convolutions"] // 2]
    # An ImageNet ResNet, or an unknown family; a bottleneck is like two convolutions of 3x3.
    blocks = BLOCKS.get(options.get("depth"), BLOCKS[101])
    return [(width, 2 * count) for width, count in zip((64, 128, 256, 512), blocks, strict=True)]
