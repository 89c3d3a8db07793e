"""Grad-CAM at the output of the last block, after its ReLU (A24)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xkd.explain._gradcam import class_maps
from xkd.explain._subject import Subject, enlarged
from xkd.networks import Network, Output

LABEL = "Grad-CAM"
NEEDS = ("pooled_head",)
RECTIFIED = True
ONE_CLASS = True


@torch.no_grad()
def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """Maps of every class, at the native resolution (A25).

        map_k = ReLU( (1/Z) Σ_c W_kc A_c )                    Selvaraju et al. 2017, Eq. 1-2

    Args:
        output: of one forward pass, in either mode; its batch statistics are part of it (A26).
    Returns: [B, C, h·w]; no gradient.
    """
    return class_maps(network.classifier, output.features[-1], rectify=True)


@torch.no_grad()
def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """The map of one class, at the size of the image by bilinear interpolation, [B, H, W]."""
    pairs = zip(images.split(subject.at_once), classes.split(subject.at_once), strict=True)
    network = subject.network
    return torch.cat([map_of(network, network(x), c, x.shape[2:]) for x, c in pairs])


def map_of(network: Network, output: Output, classes: Tensor, size: Sequence[int]) -> Tensor:
    """Likewise from a forward pass at hand, without a further one. size: (H, W)."""
    last = output.features[-1]
    weights = network.classifier.weight[classes] / last[0, 0].numel()
    return enlarged(torch.einsum("bk,bkhw->bhw", weights, last).relu(), size)
