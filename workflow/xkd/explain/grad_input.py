"""The gradient of every logit with respect to the image, times the image."""

from torch import Tensor

from xkd.explain import grad
from xkd.explain._gradients import evaluation_mode
from xkd.explain._subject import Subject, class_gradient
from xkd.networks import Network, Output

LABEL = "Grad*Input"
NEEDS = ()
ONE_CLASS = True


def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """x ⊙ ∂a_k/∂x for every class k, [B, C, P], with x the normalised image."""
    gradients = grad.all_classes(network, output, images)
    return gradients * images.detach().flatten(1).unsqueeze(1)


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """x ⊙ ∂a_c/∂x summed over channels, [B, H, W], signed."""
    with evaluation_mode(subject.network):
        return (images * class_gradient(subject, images, classes)).sum(1)
