"""Insertion and deletion: how fast a class comes or goes as pixels do, most important ones first.

    deletion    from x to nothing:     s_i = p_c( x with the i·n most important pixels set to 0 )
    insertion   from a blurred x to x: s_i = p_c( blur(x) with these pixels as in x )
    area = ( Σ_{i=0..N} s_i − s_0/2 − s_N/2 ) / N,   N = ⌈HW / n⌉     Petsiuk et al. 2018, §4.1;
                                                     Lee & Kim 2021, Alg. A1 and A2

Insertion is better the larger its area, deletion the smaller. A pixel is all its channels; zero is
the mean colour of the data set, since images are normalised; c is the class that the network
predicts for x, not its label. The step n and the blur are those of RISE's code, or as configured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xkd.perturb import SIGMA, SIZE, blurred, pixel_ranks

Probabilities = Callable[[Tensor], Tensor]  # [M, channels, H, W] -> [M, C], softmax


@dataclass(frozen=True)
class Protocol:
    """How curves are measured.

    step:      n, pixels per step
    blur, sigma, truncated: of insertion's first image; see `xkd.perturb.blur_kernel`
    ties:      seed of the order of pixels with equal values
    at_once:   images per call of the network; scores do not depend on it
    """

    step: int
    blur: int = SIZE
    sigma: float = SIGMA
    truncated: bool = False
    ties: int = 0
    at_once: int = 1000

    def __post_init__(self) -> None:
        if self.step < 1 or self.at_once < 1:
            raise ValueError(
                f"step {self.step}, at_once {self.at_once}; expected at least 1 of each"
            )


class Curves(NamedTuple):
    """Probability of the explained class after every step, each [B, N + 1], float64 on the CPU."""

    insertion: Tensor
    deletion: Tensor


def curves(
    predict: Probabilities, images: Tensor, maps: Tensor, classes: Tensor, protocol: Protocol
) -> Curves:
    """Insertion and deletion curves.

    Args:
        predict: the network that is explained; in evaluation mode, without gradient.
        images: x, [B, channels, H, W], normalised; left as they are.
        maps: e, [B, H, W]; only the order of their pixels counts.
        classes: c, [B], int64.
    Raises: ValueError if shapes do not fit, or a map has values that are not finite.
    """
    size = images.shape[0], *images.shape[2:]
    if tuple(maps.shape) != size or len(classes) != len(images):
        raise ValueError(
            f"maps {list(maps.shape)} and {len(classes)} classes for images "
            f"{list(images.shape)}; expected maps {list(size)} and a class each"
        )
    ranks = pixel_ranks(maps, protocol.ties)
    erased = blurred(images, protocol.blur, protocol.sigma, protocol.truncated)
    rest = predict, ranks, classes, protocol
    return Curves(
        insertion=_curve(erased, images, *rest),
        deletion=_curve(images, torch.zeros_like(images), *rest),
    )


def area(scores: Tensor) -> Tensor:
    """Area under curves by the trapezoidal rule, the horizontal axis scaled to [0, 1].

    Args:
        scores: [..., N + 1], N ≥ 1.
    Returns: [...], within the range of the scores.
    """
    steps = scores.shape[-1] - 1
    return (scores.sum(-1) - (scores[..., 0] + scores[..., -1]) / 2) / steps


def stage(start: Tensor, finish: Tensor, ranks: Tensor, count: Tensor | int) -> Tensor:
    """Images in which the `count` first-ranked pixels are those of `finish`, the others of `start`.

    Args:
        start, finish: [B, channels, H, W].
        ranks: as from `pixel_ranks`, [B, H·W].
        count: of pixels; one number, or one per image, [B].
    """
    count = torch.as_tensor(count, device=ranks.device).reshape(-1, 1)
    reached = (ranks < count).view(len(ranks), 1, *start.shape[2:])
    return torch.where(reached, finish, start)


def _curve(
    start: Tensor,
    finish: Tensor,
    predict: Probabilities,
    ranks: Tensor,
    classes: Tensor,
    protocol: Protocol,
) -> Tensor:
    """Scores of all stages, [B, N + 1]; as many images at once as the protocol says."""
    images, steps = len(start), -(-ranks.shape[1] // protocol.step)
    image = torch.arange(images, device=start.device).repeat_interleave(steps + 1)
    count = protocol.step * torch.arange(steps + 1, device=start.device).repeat(images)
    scores = []
    for some, counts in zip(
        image.split(protocol.at_once), count.split(protocol.at_once), strict=True
    ):
        shown = stage(start[some], finish[some], ranks[some], counts)
        scores.append(predict(shown).gather(1, classes[some, None])[:, 0].double().cpu())
    return torch.cat(scores).view(images, steps + 1)
