"""The gradient of every logit with respect to the image, times the image."""

from torch import Tensor

from xkd.explain import grad
from xkd.networks import Network, Output

LABEL = "Grad*Input"
NEEDS = ()


def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """x ⊙ ∂a_k/∂x for every class k, [B, C, P], with x the normalised image."""
    gradients = grad.all_classes(network, output, images)
    return gradients * images.detach().flatten(1).unsqueeze(1)
