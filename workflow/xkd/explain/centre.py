"""A control: what lies in the middle counts most, whatever the image."""

import torch
from torch import Tensor

from xkd.explain._subject import Subject

LABEL = "Centre"
ONE_CLASS = True
CONTROL = True


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """A Gaussian about the middle with σ of a quarter of either side, [B, H, W]."""
    sides = [
        torch.arange(side, dtype=images.dtype, device=images.device) for side in images.shape[2:]
    ]
    rows, columns = (
        torch.exp(-(((4 * (line - (len(line) - 1) / 2)) / len(line)) ** 2) / 2) for line in sides
    )
    return torch.outer(rows, columns).repeat(len(images), 1, 1)
