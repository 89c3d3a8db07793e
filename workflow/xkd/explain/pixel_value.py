"""A control: the image as its own explanation, bright pixels first."""

from torch import Tensor

from xkd.explain._subject import Subject

LABEL = "Pixel value"
ONE_CLASS = True
CONTROL = True


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Mean over channels of the normalised image, [B, H, W]."""
    return images.mean(1)
