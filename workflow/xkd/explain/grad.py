"""The gradient of every logit with respect to the image."""

from torch import Tensor

from xkd.explain._gradients import (
    backward_per_class,
    evaluation_mode,
    linear_pieces,
    mlp_gradients,
)
from xkd.explain._subject import Subject, class_gradient
from xkd.networks import Network, Output
from xkd.networks.mlp import MLP

LABEL = "Grad"
NEEDS = ()
ONE_CLASS = True


def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """∂a_k/∂x for every class k, [B, C, P]; of logits, because probabilities saturate (A22)."""
    if isinstance(network, MLP):
        return mlp_gradients(*linear_pieces(network, output))
    with evaluation_mode(network):
        return backward_per_class(network, images)


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """max over channels of |∂a_c/∂x|, [B, H, W]              Simonyan et al. 2013, §3.1."""
    with evaluation_mode(subject.network):
        return class_gradient(subject, images, classes).abs().amax(1)
