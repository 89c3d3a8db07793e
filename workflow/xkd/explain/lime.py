"""LIME: a linear model of the class's probability in which segments of the image are shown."""

import torch
from torch import Tensor

from xkd.errors import Refused
from xkd.explain._subject import Subject

LABEL = "LIME"
ONE_CLASS = True
MANY = True
OPTIONS = {
    "segments": {
        "description": "a grid of `cells` × `cells` squares, or scikit-image's quickshift or SLIC",
        "enum": ["grid", "quickshift", "slic"],
        "default": "grid",
    },
    "cells": {
        "description": "squares a side; about their square many segments of SLIC",
        "type": "integer",
        "minimum": 2,
        "default": 8,
    },
    "samples": {"description": "images tried", "type": "integer", "minimum": 2, "default": 1000},
}
WIDTH = 0.25  # of the kernel that weights samples
RIDGE = 1.0
SMALLEST = 100  # pixels; quickshift's defaults find one or two segments in smaller images


def of_class(
    subject: Subject,
    images: Tensor,
    classes: Tensor,
    *,
    segments: str = "grid",
    cells: int = 8,
    samples: int = 1000,
) -> Tensor:
    """Coefficient of each pixel's segment in a weighted ridge regression on what is shown.

        min_{β, β_0} Σ_i w_i ( p_c(x_i) − β_0 − zᵢᵀβ )² + ‖β‖²,   w_i = √exp( −d_i² / 0.25² )
        z_i ~ uniform {0,1}^S, z_1 all ones,   d_i = 1 − √(|z_i| / S)      Ribeiro et al. 2016, §3.3

    x_i has the segments with z = 0 in their mean colour; d is the cosine distance to the whole
    image. Kernel, distance, ridge and colours are the defaults of the authors' package (0.2).

    Returns: [B, H, W], signed.
    Raises: Refused for scikit-image's segments on images below 100 pixels.
    """
    maps = []
    for image, label in zip(images, classes, strict=True):
        parts = segments_of(image, segments, cells)
        count = int(parts.max()) + 1
        shown = random_rows(samples, count, subject.seed).to(images)
        hidden = mean_colours(image, parts, count)
        left = [
            subject.probabilities(torch.where(some[:, parts].bool().unsqueeze(1), image, hidden))
            for some in shown.split(subject.at_once)
        ]
        coefficients = weighted_ridge(shown, torch.cat(left)[:, label])
        maps.append(coefficients.to(images)[parts])
    return torch.stack(maps)


def random_rows(samples: int, count: int, seed: int) -> Tensor:
    """z, [samples, S], of zeros and ones; the first row shows everything."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(2, (samples, count), generator=generator)
    rows[0] = 1
    return rows


def weighted_ridge(shown: Tensor, left: Tensor) -> Tensor:
    """β of the regression, [S], float64; its intercept is not shrunk.

    Args:
        shown: z, [N, S]; left: p_c, [N].
    """
    rows, left = shown.double(), left.double()
    distance = 1 - (rows.mean(dim=1)).sqrt()
    weights = torch.exp(-(distance**2) / WIDTH**2).sqrt()
    centred = rows - weights @ rows / weights.sum()
    weighted = centred * weights[:, None]
    penalty = RIDGE * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    target = left - weights @ left / weights.sum()
    return torch.linalg.solve(weighted.T @ centred + penalty, weighted.T @ target)


def segments_of(image: Tensor, kind: str, cells: int) -> Tensor:
    """Number of the segment of every pixel, [H, W], int64, from 0 without gaps.

    Args:
        image: [channels, H, W], normalised.
    """
    height, width = image.shape[1:]
    if kind == "grid":
        row = torch.arange(height, device=image.device) * cells // height
        column = torch.arange(width, device=image.device) * cells // width
        _, parts = torch.unique(row[:, None] * cells + column, return_inverse=True)
        return parts
    if min(height, width) < SMALLEST:
        raise Refused(
            f"lime: segments '{kind}' of an image of {height} x {width} pixels are one or two; "
            f"expected at least {SMALLEST} pixels; take segments: grid"
        )
    return _by_scikit_image(image, kind, cells)


def _by_scikit_image(image: Tensor, kind: str, cells: int) -> Tensor:
    from skimage import segmentation

    pixels = image.detach().movedim(0, -1).double().cpu().numpy()
    low, high = pixels.min(), pixels.max()
    pixels = (pixels - low) / (high - low or 1.0)
    if pixels.shape[-1] == 1:
        pixels = pixels.repeat(3, axis=-1)
    if kind == "quickshift":
        parts = segmentation.quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2)
    else:
        parts = segmentation.slic(pixels, n_segments=cells**2, start_label=0)
    _, numbered = torch.unique(torch.from_numpy(parts), return_inverse=True)
    return numbered.to(image.device)


def mean_colours(image: Tensor, parts: Tensor, count: int) -> Tensor:
    """The image with every segment in its mean colour, [channels, H, W]."""
    flat = parts.flatten()
    sums = image.new_zeros(image.shape[0], count).index_add_(1, flat, image.flatten(1))
    sizes = torch.bincount(flat, minlength=count)
    return (sums / sizes)[:, parts]
