"""Mean of an attentive student's levels: nothing is trained for it, so nothing can collapse."""

import torch
from torch import Tensor

from xkd.explain._levels import level_maps
from xkd.explain._subject import Subject

LABEL = "Mean of levels"
ONE_CLASS = True
SUBJECT = ("surrogate",)


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """mean_l minmax( up( ReLU(M_l[c]) ⊙ A_l ) ), [B, H, W], in [0, 1]."""
    return torch.stack(level_maps(subject, "levels_mean", images, classes)).mean(0)
