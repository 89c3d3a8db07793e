"""Grad-CAM of every class in closed form, for networks that end in a mean over positions.

With logits a_k = b_k + (1/Z) Σ_ij Σ_c W_kc A_cij, where A is the last feature map and Z the number
of its positions, the gradient ∂a_k/∂A_cij = W_kc / Z is the same everywhere: the channel weights of
Selvaraju et al. 2017 (Eq. 1) need no backward pass. `xkd.explain.require_explainable`
refuses other networks.
"""

import torch
from torch import Tensor, nn


def class_maps(classifier: nn.Linear, features: Tensor, rectify: bool) -> Tensor:
    """Rows of the classifier applied at every position: [B, C, h·w]."""
    features = features.flatten(2)  # [B, channels, Z]
    maps = torch.einsum("kc,bcz->bkz", classifier.weight / features.shape[2], features)
    return maps.relu() if rectify else maps


def slope(norm: nn.BatchNorm2d, entering: Tensor) -> Tensor:
    """γ / √(σ² + ε) with the σ² that the forward pass used; [1, channels, 1, 1]."""
    used_batch = norm.training
    variance = entering.var(dim=(0, 2, 3), correction=0) if used_batch else norm.running_var
    return (norm.weight * torch.rsqrt(variance + norm.eps)).view(1, -1, 1, 1)
