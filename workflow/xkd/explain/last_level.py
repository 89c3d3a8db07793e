"""The last level of an attentive student alone: the ablation of its fusion of levels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xkd.explain._levels import level_maps, shown
from xkd.explain._subject import Subject
from xkd.networks.attentive import AttentiveResNet, Levels

LABEL = "Last level"
ONE_CLASS = True
SUBJECT = ("surrogate",)


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """minmax( up( ReLU(M_L[c]) ⊙ A_L ) ), [B, H, W], in [0, 1]."""
    return level_maps(subject, "last_level", images, classes)[-1]


def map_of_level(
    student: AttentiveResNet, levels: Levels, classes: Tensor, size: Sequence[int]
) -> Tensor:
    """Likewise from a forward pass at hand, and without the other levels' heads."""
    weights, bias = student.classifier.weight[classes], student.classifier.bias[classes]
    class_map = torch.einsum("bk,bkhw->bhw", weights, levels.features[-1]) + bias[:, None, None]
    return shown(class_map.unsqueeze(1), levels.attentions[-1], size)
