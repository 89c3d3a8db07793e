"""What a saliency map can be judged by besides insertion and deletion.

Maps are [B, H, W], one per image, for one class each; larger means more important.
"""

import torch
from torch import Tensor

from xkd.perturb import mixed, pixel_ranks

RADIUS = 15  # pixels, TorchRay's tolerance for pictures of 224


def scaled(maps: Tensor) -> Tensor:
    """Maps stretched to [0, 1], each by its own smallest and largest value.

    A constant map becomes 1 everywhere: it keeps the whole image.

    Returns: as maps.
    """
    low = maps.amin(dim=(1, 2), keepdim=True)
    width = maps.amax(dim=(1, 2), keepdim=True) - low
    return torch.where(width > 0, (maps - low) / width.where(width > 0, 1.0), 1.0)


def intensity(maps: Tensor) -> Tensor:
    """Mean pixel of every map once it is scaled to [0, 1], [B]; 1 of a constant map.

    Lee & Kim 2021, table of speed: a small mean says that the map points at few pixels.
    """
    return scaled(maps).mean(dim=(1, 2))


def box_masks(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """True inside the boxes, [B, H, W].

    Args:
        boxes: top, left, bottom, right, the last two exclusive, [B, 4], integers.
        size: (H, W).
    """
    row, column = (torch.arange(side, device=boxes.device) for side in size)
    top, left, bottom, right = boxes.T[..., None]
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return rows[:, :, None] & columns[:, None, :]


def pointing_hits(maps: Tensor, objects: Tensor, radius: float = 0.0, ties: int = 0) -> Tensor:
    """Whether the largest pixel of a map lies on the object, or no farther from it than `radius`.

    Zhang et al. 2018, §4.2, by the rule of TorchRay. Of several largest pixels the one counts that
    comes first by the seed `ties`, so that a constant map hits by chance alone.

    Args:
        objects: true where the object is, [B, H, W], boolean.
        radius: ≥ 0, in pixels; TorchRay takes 15 on pictures of 224.
    Returns: [B], boolean.
    Raises: ValueError if shapes differ.
    """
    if maps.shape != objects.shape:
        raise ValueError(f"maps {list(maps.shape)} and objects {list(objects.shape)} differ")
    height, width = maps.shape[1:]
    peak = pixel_ranks(maps, ties).argmin(dim=1)
    row = torch.arange(height, device=maps.device).view(1, -1, 1) - (peak // width).view(-1, 1, 1)
    column = torch.arange(width, device=maps.device).view(1, 1, -1) - (peak % width).view(-1, 1, 1)
    near = row.square() + column.square() <= radius**2
    return (near & objects).flatten(1).any(dim=1)


def pointing_accuracy(hits: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur of hits / (hits + misses), in [0, 1].

    Args:
        hits: [B], boolean; labels: [B], int64.
    Raises: ValueError if there is no image.
    """
    if not len(labels):
        raise ValueError("no images; expected at least one")
    rates = [hits[labels == label].double().mean() for label in labels.unique()]
    return float(torch.stack(rates).mean())


def explained_part(images: Tensor, maps: Tensor) -> Tensor:
    """Images dimmed to what the map shows, x ⊙ scaled(e): the rest fades to the mean colour.

    What average drop and increase are measured on (Chattopadhay et al. 2018, §4.1).
    """
    return mixed(images, torch.zeros_like(images), scaled(maps))


def average_drop(whole: Tensor, part: Tensor) -> float:
    """Mean relative fall of the explained class's probability, in [0, 1]; smaller is better.

        (1/B) Σ_i max(0, Y_i − O_i) / Y_i            Chattopadhay et al. 2018, Eq. 11

    Args:
        whole: Y, probabilities on the images, [B], above 0; part: O, on `explained_part`, [B].
    Raises: ValueError if shapes differ or a probability on a whole image is not positive.
    """
    _same_images(whole, part)
    if not (whole > 0).all():
        raise ValueError("a probability on a whole image is 0; expected the predicted class's")
    return float(((whole - part).clamp_min(0) / whole).double().mean())


def average_increase(whole: Tensor, part: Tensor) -> float:
    """Share of images whose class becomes more probable, in [0, 1]; larger is better.

        (1/B) Σ_i 1[Y_i < O_i]                       Chattopadhay et al. 2018, Eq. 12

    Args: as for `average_drop`.
    """
    _same_images(whole, part)
    return float((whole < part).double().mean())


def _same_images(whole: Tensor, part: Tensor) -> None:
    if whole.shape != part.shape or whole.ndim != 1 or not len(whole):
        raise ValueError(
            f"probabilities {list(whole.shape)} and {list(part.shape)}; expected [B] and [B]"
        )
