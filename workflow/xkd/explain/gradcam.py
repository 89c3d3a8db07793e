"""Grad-CAM at the output of the last block, after its ReLU (A24)."""

import torch
from torch import Tensor

from xkd.explain._gradcam import class_maps
from xkd.networks import Network, Output

LABEL = "Grad-CAM"
NEEDS = ("pooled_head",)
RECTIFIED = True


@torch.no_grad()
def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """Maps of every class, at the native resolution (A25).

        map_k = ReLU( (1/Z) Σ_c W_kc A_c )                    Selvaraju et al. 2017, Eq. 1-2

    Args:
        output: of one forward pass, in either mode; its batch statistics are part of it (A26).
    Returns: [B, C, h·w]; no gradient.
    """
    return class_maps(network.classifier, output.features[-1], rectify=True)
