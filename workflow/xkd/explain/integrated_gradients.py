"""Integrated gradients: the image times the mean gradient on the way to it from the mean colour."""

import torch
from torch import Tensor

from xkd.explain._gradients import evaluation_mode
from xkd.explain._subject import Subject, class_gradient

LABEL = "Integrated gradients"
ONE_CLASS = True
MANY = True
OPTIONS = {
    "steps": {"description": "points on the way", "type": "integer", "minimum": 1, "default": 50}
}


def of_class(subject: Subject, images: Tensor, classes: Tensor, *, steps: int = 50) -> Tensor:
    """Contributions of pixels to the logit, summed over channels.

        e = Σ_ch x ⊙ (1/n) Σ_i ∂a_c/∂x (x (i − ½) / n)     Sundararajan et al. 2017, Eq. 3

    from zero, the mean colour, by the midpoint rule. As n grows, a map's sum comes close to the
    logit's difference between image and mean colour.

    Args:
        steps: n.
    Returns: [B, H, W], signed.
    """
    total = torch.zeros_like(images)
    with evaluation_mode(subject.network):
        for step in range(steps):
            share = (step + 0.5) / steps
            total += class_gradient(subject, share * images, classes)
    return (images * total / steps).sum(1)
