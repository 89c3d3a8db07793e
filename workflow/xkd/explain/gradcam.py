"""Grad-CAM of every class in closed form, for networks that end in a mean over positions.

With logits a_k = b_k + (1/Z) Σ_ij Σ_c W_kc A_cij, where A is the last feature map and Z the number
of its positions, the gradient ∂a_k/∂A_cij = W_kc / Z is the same everywhere: the channel weights of
Selvaraju et al. 2017 (Eq. 1) need no backward pass. `xkd.explain.explain` refuses other networks.
"""

import torch
from torch import Tensor, nn

from xkd.losses import at_least_float32
from xkd.networks import Network, Output


@torch.no_grad()
def gradcam(network: Network, output: Output, rectify: bool = True) -> Tensor:
    """Grad-CAM at the output of the last block, after its ReLU (A24).

        map_k = ReLU( (1/Z) Σ_c W_kc A_c )                    Selvaraju et al. 2017, Eq. 1-2

    Args:
        network: with a pooled head.
        output: of one forward pass, in either mode; its batch statistics are part of it (A26).
        rectify: False leaves the ReLU off, so that maps are signed (A21).
    Returns: [B, C, h·w], at the native resolution (A25); no gradient.
    """
    return _class_maps(network.classifier, output.features[-1], rectify)


@torch.no_grad()
def gradcam_last_conv(network: Network, output: Output) -> Tensor:
    """Grad-CAM at the raw output U of the last convolution, before batch norm and shortcut (A24).

    With A = ReLU( BN(U) + shortcut ) and BN's statistics held constant, ∂a_k/∂U_c is W_kc/Z · s_c
    where A > 0 and zero elsewhere, hence

        map_k = ReLU( (1/Z) Σ_c W_kc s_c ρ_c U_c )

    with s_c the slope of batch norm, and ρ_c the fraction of positions of the sample with A_c > 0.

    Args:
        network: with a pooled head.
        output: of one forward pass in the network's current mode.
    Returns: [B, C, h·w]; no gradient.
    """
    last_conv = at_least_float32(output.last_conv)
    active = (output.features[-1] > 0).to(last_conv.dtype).mean(dim=(2, 3), keepdim=True)
    weight = _slope(network.last_norm, last_conv) * active  # [B, channels, 1, 1]
    return _class_maps(network.classifier, weight * last_conv, rectify=True)


def _class_maps(classifier: nn.Linear, features: Tensor, rectify: bool) -> Tensor:
    """Rows of the classifier applied at every position: [B, C, h·w]."""
    features = features.flatten(2)  # [B, channels, Z]
    maps = torch.einsum("kc,bcz->bkz", classifier.weight / features.shape[2], features)
    return maps.relu() if rectify else maps


def _slope(norm: nn.BatchNorm2d, entering: Tensor) -> Tensor:
    """γ / √(σ² + ε) with the σ² that the forward pass used; [1, channels, 1, 1]."""
    used_batch = norm.training
    variance = entering.var(dim=(0, 2, 3), correction=0) if used_batch else norm.running_var
    return (norm.weight * torch.rsqrt(variance + norm.eps)).view(1, -1, 1, 1)
