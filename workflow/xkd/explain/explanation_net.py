"""The explanation network of an attentive student (Lee & Kim 2021, §3.4)."""

import torch
from torch import Tensor

from xkd.explain._subject import Subject

LABEL = "Explanation network"
ONE_CLASS = True
SUBJECT = ("surrogate",)


@torch.no_grad()
def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """e_c, [B, H, W], before its sigmoid: the order is that of E = sigmoid(e), without ties where
    E saturates. Raises Refused when the subject has no attentive student."""
    student = subject.attentive("explanation_net")
    pairs = zip(images.split(subject.at_once), classes.split(subject.at_once), strict=True)
    return torch.cat([student.explain(student.levels(x), c, x.shape[2:]) for x, c in pairs])


def intensities(maps: Tensor) -> Tensor:
    """E = sigmoid(e), as it is to be seen and its mean to be taken."""
    return maps.sigmoid()
