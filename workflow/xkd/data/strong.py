"""Strong augmentation on the device: two random operations and a grey square, batches at once.

Each image gets two of fourteen operations, drawn with replacement, each with a magnitude uniform in
its range; then a square of side u·S, u uniform in [0, 0.5], is painted grey at a random place
(RandAugment as in TorchSSL, which MLKD uses; Cubuk et al. 2020). Operations compute what Pillow's
of the same name do, on bytes between 0 and 255 and with whole results; geometry takes the nearest
pixel and fills with black. Random numbers come from torch's global generator of the device, and the
host reads none of them.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

#: Operation -> range of its magnitude v.
RANGES: dict[str, tuple[float, float]] = {
    "autocontrast": (0, 1),  # takes none
    "brightness": (0.05, 0.95),
    "colour": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "equalise": (0, 1),  # takes none
    "identity": (0, 1),  # takes none
    "posterise": (4, 8),  # bits that are kept, rounded down
    "rotate": (-30, 30),  # degrees, anticlockwise
    "sharpness": (0.05, 0.95),
    "shear_x": (-0.3, 0.3),
    "shear_y": (-0.3, 0.3),
    "solarise": (0, 256),  # turns around what is not below
    "translate_x": (-0.3, 0.3),  # of the width
    "translate_y": (-0.3, 0.3),
}
LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)  # of red, green, blue
GREY = (125.0, 123.0, 114.0)
ROUNDS = 2
LARGEST = 0.5  # side of the square, of the image's


class StrongViews:
    """Strongly augmented images.

    It keeps the ranges on the device: a captured step can copy nothing from the host.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        lowest, highest = torch.tensor(list(RANGES.values())).unbind(1)
        self.lowest, self.span = lowest.to(device), (highest - lowest).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Strong views of images.

        Args:
            images: [B, channels, S, S], whole numbers from 0 to 255; 3 channels, or 1.
        Returns: likewise, of the same kind of floating-point number.
        """
        count, device = len(images), images.device
        for _ in range(ROUNDS):
            chosen = torch.randint(len(RANGES), (count,), device=device)
            share = torch.rand(count, device=device)
            images = transformed(images, chosen, self.lowest[chosen] + self.span[chosen] * share)
        return with_square(images, LARGEST * torch.rand(count, device=device))


def transformed(images: Tensor, chosen: Tensor, magnitude: Tensor) -> Tensor:
    """Every image after one operation of its own.

    Args:
        images: [B, channels, S, S]; chosen: places in `RANGES`, [B]; magnitude: v, [B].
    """
    v = magnitude.to(images.dtype)[:, None, None, None]
    places = {name: place for place, name in enumerate(RANGES)}
    result = moved(images, chosen, magnitude)
    for name, operation in OPERATIONS.items():
        here = (chosen == places[name])[:, None, None, None]
        result = torch.where(here, operation(images, v), result)
    return result


def blended(other: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """(1 − v) · degenerate image + v · image, rounded down."""

    def operation(images: Tensor, v: Tensor) -> Tensor:
        degenerate = other(images)
        # A hair more, so that no whole number falls below itself.
        return (degenerate + v * (images - degenerate) + 1e-3).floor().clamp(0, 255)

    return operation


def luma(images: Tensor) -> Tensor:
    """Grey values, rounded, [B, 1, S, S]."""
    if images.shape[1] == 1:
        return images
    return (sum(w * images[:, c : c + 1] for c, w in enumerate(LUMA)) + 0.5).floor()


def mean_luma(images: Tensor) -> Tensor:
    return (luma(images).mean(dim=(1, 2, 3), keepdim=True) + 0.5).floor()


def smoothed(images: Tensor) -> Tensor:
    """Means weighted (1 1 1, 1 5 1, 1 1 1)/13 around every pixel but those of the border."""
    inner = (9 * F.avg_pool2d(images, 3, stride=1) + 4 * images[:, :, 1:-1, 1:-1]) / 13
    result = images.clone()
    result[:, :, 1:-1, 1:-1] = (inner + 0.5).floor()
    return result


def autocontrast(images: Tensor, v: Tensor) -> Tensor:
    """Every channel stretched from its smallest and largest value to 0 and 255."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    stretched = (images - low) * (255 / (high - low).clamp_min(1))
    return torch.where(high > low, (stretched + 1e-3).floor().clamp(0, 255), images)


def equalised(images: Tensor, v: Tensor) -> Tensor:
    """Every channel with its values spread evenly over its pixels, by Pillow's integer table."""
    values = images.flatten(2).long()  # [B, channels, S²]
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    last = counts.gather(2, values.amax(dim=2, keepdim=True))
    step = (counts.sum(dim=2, keepdim=True) - last) // 255
    before = counts.cumsum(dim=2) - counts + step // 2
    table = (before // step.clamp_min(1)).clamp_max(255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(2, values).view_as(images).to(images.dtype)


def posterised(images: Tensor, v: Tensor) -> Tensor:
    """Only the ⌊v⌋ highest of 8 bits."""
    unit = 2 ** (8 - v.floor())
    return (images / unit).floor() * unit


def solarised(images: Tensor, v: Tensor) -> Tensor:
    return torch.where(images < v, images, 255 - images)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": autocontrast,
    "brightness": blended(torch.zeros_like),
    "colour": blended(luma),
    "contrast": blended(mean_luma),
    "equalise": equalised,
    "posterise": posterised,
    "sharpness": blended(smoothed),
    "solarise": solarised,
}


def moved(images: Tensor, chosen: Tensor, magnitude: Tensor) -> Tensor:
    """Images rotated, sheared or translated where that is their operation, as they are elsewhere.

    The pixel at (x, y) is taken from where the map points to: (x, y) rotated by v about the middle;
    (x + v·y, y); (x, y + v·x); (x + v·S, y); (x, y + v·S), with centres of pixels at halves.
    """
    places = {name: place for place, name in enumerate(RANGES)}
    size = images.shape[-1]

    def amount(name: str) -> Tensor:
        """v where it is this operation, else 0; [B, 1, 1]."""
        here = chosen == places[name]
        return torch.where(here, magnitude, 0.0).double()[:, None, None]

    angle = amount("rotate") * (math.pi / 180)
    cos, sin, middle = angle.cos(), angle.sin(), size / 2
    axis = torch.arange(size, device=images.device, dtype=torch.float64) + 0.5
    x, y = axis[None, None, :], axis[None, :, None]
    across = cos * (x - middle) - sin * (y - middle) + middle
    down = sin * (x - middle) + cos * (y - middle) + middle
    across = across + amount("shear_x") * y + amount("translate_x") * size
    down = down + amount("shear_y") * x + amount("translate_y") * size
    column, row = across.floor().long(), down.floor().long()
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    source = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)  # [B, S, S]
    source = source[:, None].expand_as(images).flatten(2)
    taken = images.flatten(2).gather(2, source).view_as(images)
    return torch.where(inside[:, None], taken, 0.0)


def with_square(images: Tensor, share: Tensor) -> Tensor:
    """Images with a grey square whose middle is drawn uniformly; the border may cut it.

    Args:
        share: of the image's side, [B].
    """
    size, device = images.shape[-1], images.device
    side = (share * size)[:, None]
    corner = (torch.rand(len(images), 2, device=device) * size - side / 2).clamp_min(0).floor()
    pixels = torch.arange(size, device=device)
    covered = (pixels >= corner[:, :, None]) & (pixels <= (corner + side)[:, :, None])
    square = covered[:, 0, :, None] & covered[:, 1, None, :]  # [B, S, S]
    grey = torch.cat([images.new_full((1, 1, 1, 1), value) for value in GREY], dim=1)
    grey = luma(grey) if images.shape[1] == 1 else grey
    return torch.where(square[:, None], grey, images)
