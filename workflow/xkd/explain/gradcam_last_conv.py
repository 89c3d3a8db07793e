"""Grad-CAM at the raw output of the last convolution, before batch norm and shortcut (A24)."""

import torch
from torch import Tensor

from xkd.errors import Refused
from xkd.explain._gradcam import class_maps, slope
from xkd.losses import at_least_float32
from xkd.networks import Network, Output

LABEL = "Grad-CAM, last conv"
NEEDS = ("pooled_head",)
RECTIFIED = True


@torch.no_grad()
def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """Maps of every class.

    With A = ReLU( BN(U) + shortcut ) and BN's statistics held constant, ∂a_k/∂U_c is W_kc/Z · s_c
    where A > 0 and zero elsewhere, hence

        map_k = ReLU( (1/Z) Σ_c W_kc s_c ρ_c U_c )

    with s_c the slope of batch norm, and ρ_c the fraction of positions of the sample with A_c > 0.

    Args:
        output: of one forward pass in the network's current mode.
    Returns: [B, C, h·w]; no gradient.
    Raises: Refused for a network that names no last convolution.
    """
    if network.last_norm is None:
        raise Refused(
            f"'gradcam_last_conv' has no closed form for {type(network).__name__}, where more than "
            "a ReLU follows the last batch norm; take 'gradcam'"
        )
    last_conv = at_least_float32(output.last_conv)
    active = (output.features[-1] > 0).to(last_conv.dtype).mean(dim=(2, 3), keepdim=True)
    weight = slope(network.last_norm, last_conv) * active  # [B, channels, 1, 1]
    return class_maps(network.classifier, weight * last_conv, rectify=True)
