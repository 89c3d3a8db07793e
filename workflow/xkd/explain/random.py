"""A control: pixels in an order that knows nothing."""

import zlib

import torch
from torch import Tensor

from xkd.explain._subject import Subject

LABEL = "Random"
ONE_CLASS = True
CONTROL = True


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Uniform noise, [B, H, W], drawn from the seed and the image's own content."""
    maps = []
    for image in images:
        content = zlib.crc32(image.detach().cpu().contiguous().numpy().tobytes())
        generator = torch.Generator().manual_seed((content + subject.seed) % 2**32)
        maps.append(torch.rand(image.shape[1:], generator=generator))
    return torch.stack(maps).to(images)
