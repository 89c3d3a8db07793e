"""RISE: what a random mask leaves of a class's probability speaks for what the mask keeps."""

import torch
from torch import Tensor

from xkd.explain._subject import Subject
from xkd.perturb import enlarged_grids

LABEL = "RISE"
ONE_CLASS = True
MANY = True
OPTIONS = {
    "samples": {"description": "N, masks", "type": "integer", "minimum": 1, "default": 2000},
    "cells": {"description": "s, cells a side", "type": "integer", "minimum": 1, "default": 7},
    "keep": {
        "description": "p, share of cells that a mask keeps",
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "default": 0.5,
    },
}


def of_class(
    subject: Subject,
    images: Tensor,
    classes: Tensor,
    *,
    samples: int = 2000,
    cells: int = 7,
    keep: float = 0.5,
) -> Tensor:
    """Mean of random masks, each weighted by the probability that it leaves the class.

        e_c = 1/(N p) · Σ_i p_c(x ⊙ m_i) m_i              Petsiuk et al. 2018, Eq. 6

    Masks multiply the normalised image, so what they hide becomes the mean colour. They are those
    of the seed, the same for every image.

    Args:
        samples: N; cells: s, the grid of a mask before it is enlarged; keep: p.
    Returns: [B, H, W], in [0, 1/p].
    """
    size = tuple(images.shape[2:])
    masks = random_masks(samples, size, cells, keep, subject.seed).to(images)
    found = images.new_zeros(len(images), *size)
    per_image = max(1, subject.at_once // len(images))
    for some in masks.split(per_image):
        shown = (images.unsqueeze(1) * some[None, :, None]).flatten(0, 1)
        chosen = classes.repeat_interleave(len(some))[:, None]
        left = subject.probabilities(shown).gather(1, chosen).view(len(images), len(some))
        found += torch.einsum("bn,nhw->bhw", left, some)
    return found / (samples * keep)


def random_masks(samples: int, size: tuple[int, int], cells: int, keep: float, seed: int) -> Tensor:
    """RISE's masks: a Bernoulli grid, enlarged bilinearly and shifted by less than a cell.

    Returns: [N, H, W], in [0, 1], on the CPU; of mean p at every pixel, but for chance.
    """
    generator = torch.Generator().manual_seed(seed)
    grids = (torch.rand(samples, cells, cells, generator=generator) < keep).float()
    offsets = torch.stack(
        [torch.randint(-(-side // cells), (samples,), generator=generator) for side in size],
        dim=1,
    )
    return enlarged_grids(grids, size, offsets)
