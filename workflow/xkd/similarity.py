"""How alike the explanations of two classes are, and the targets that LE makes of it."""

import torch
from torch import Tensor

from xkd.losses import at_least_float32

EPSILON = 1e-8  # below it a norm counts as zero
UNIFORM_BELOW = 1e-6  # a smaller sum of (cos + 1) holds no information about the classes


def unit(maps: Tensor) -> Tensor:
    """Maps scaled to unit Euclidean norm; a zero map stays zero (A27).

    Each map is divided by its largest magnitude first: gradients of a confident network are small
    enough for their squares to vanish.

    Args:
        maps: [..., P].
    Returns: [..., P], float32 or wider.
    """
    maps = at_least_float32(maps)
    peaks = maps.abs().amax(dim=-1, keepdim=True)
    scaled = maps / peaks.where(peaks > 0, 1.0)
    return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True).clamp_min(EPSILON)


def class_similarity(maps: Tensor, labels: Tensor) -> Tensor:
    """Similarity of every class to the true one, cos(e^k, e^g).

    Args:
        maps: e, [B, C, P]: one explanation per class.
        labels: g, [B], int64.
    Returns: [B, C], in [-1, 1]; 0 where either map is zero (A27).
    """
    maps = unit(maps)
    true = maps.gather(1, labels.view(-1, 1, 1).expand(-1, 1, maps.shape[2]))
    # A sum of products, because autocast would take a matrix product to bfloat16.
    return (maps * true).sum(dim=-1).clamp(-1, 1)


def similarity_matrix(maps: Tensor) -> Tensor:
    """Similarity of every pair of classes, cos(e^a, e^b), as averaged in LE, Fig. 2.

    Args:
        maps: e, [B, C, P].
    Returns: [B, C, C], in [-1, 1]; 0 where either map is zero, on the diagonal too.
    """
    with torch.autocast(maps.device.type, enabled=False):
        maps = unit(maps)
        return (maps @ maps.mT).clamp(-1, 1)


def introspective_targets(similarity: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """Target distributions that give similar classes a larger share of what is not certain.

        q_g = α,   q_k = (1 − α) · (cos(e^k, e^g) + 1) / Σ_{m≠g} (cos(e^m, e^g) + 1)     LE, Eq. 6

    Where no other class has a share (all cosines −1), the rest is spread evenly.

    Args:
        similarity: cos(e^k, e^g), [B, C], C ≥ 2; the entry of the true class is not read.
        labels: g, [B], int64.
        alpha: probability of the true class, in [0, 1].
    Returns: q, [B, C]; every row sums to one.
    """
    labels = labels.unsqueeze(1)
    shares = (similarity + 1).scatter(1, labels, 0)
    total = shares.sum(dim=1, keepdim=True)
    even = 1 / (similarity.shape[1] - 1)
    spread = torch.where(total < UNIFORM_BELOW, even, shares / total.clamp_min(EPSILON))
    return ((1 - alpha) * spread).scatter(1, labels, alpha)


def zero_map_fractions(maps: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Share of explanations that are zero everywhere, and so say nothing about similarity.

    Args:
        maps: [B, C, P].
        labels: [B], int64.
    Returns: scalars in [0, 1]: among the maps of true classes, and among those of the others.
    """
    zero = (maps.abs().amax(dim=-1) == 0).float()  # [B, C]
    true = zero.gather(1, labels.unsqueeze(1))
    others = (zero.sum() - true.sum()) / (zero.numel() - zero.shape[0])
    return true.mean(), others
