"""Grad-CAM without its ReLU, so that maps are signed (A21)."""

import torch
from torch import Tensor

from xkd.explain._gradcam import class_maps
from xkd.networks import Network, Output

LABEL = "Grad-CAM, signed"
NEEDS = ("pooled_head",)


@torch.no_grad()
def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """(1/Z) Σ_c W_kc A_c for every class k, [B, C, h·w]; no gradient."""
    return class_maps(network.classifier, output.features[-1], rectify=False)
