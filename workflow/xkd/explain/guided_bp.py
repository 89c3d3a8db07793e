"""Guided backpropagation: every ReLU passes only positive signals back."""

from torch import Tensor

from xkd.explain._gradients import (
    backward_per_class,
    evaluation_mode,
    guided_relus,
    linear_pieces,
    mlp_gradients,
)
from xkd.explain._subject import Subject, class_gradient
from xkd.networks import Network, Output
from xkd.networks.mlp import MLP

LABEL = "GuidedBP"
NEEDS = ()
ONE_CLASS = True


def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """∂a_k/∂x, [B, C, P], under the guided rule (Springenberg et al. 2015, §3.4).

    Every ReLU must be an `nn.ReLU` module, as the network contract demands.
    """
    if isinstance(network, MLP):
        return mlp_gradients(*linear_pieces(network, output), guided=True)
    with evaluation_mode(network), guided_relus(network):
        return backward_per_class(network, images)


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """max over channels of |∂a_c/∂x| under the guided rule, [B, H, W]."""
    with evaluation_mode(subject.network), guided_relus(subject.network):
        return class_gradient(subject, images, classes).abs().amax(1)
