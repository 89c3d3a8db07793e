"""The last level of an attentive student alone: the ablation of its fusion of levels."""

from torch import Tensor

from xkd.explain._levels import level_maps
from xkd.explain._subject import Subject

LABEL = "Last level"
ONE_CLASS = True
SUBJECT = ("surrogate",)


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """minmax( up( ReLU(M_L[c]) ⊙ A_L ) ), [B, H, W], in [0, 1]."""
    return level_maps(subject, "last_level", images, classes)[-1]
