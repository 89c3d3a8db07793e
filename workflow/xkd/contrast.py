"""Noise-contrastive estimation against banks of all training images: CRD and MCL-OKD.

For an image i with the contrast list idx_0 … idx_K, where idx_0 = i and the others are images of
other classes, an anchor v and a bank M of N rows,

    P_k = exp( ⟨M[idx_k], v⟩ / τ ) / Z
    NCE = −(1/B) Σ_i [ ln P_0 / (P_0 + K/N + ε) + Σ_{k≥1} ln (K/N) / (P_k + K/N + ε) ],   ε = 1e-7

(Gutmann & Hyvärinen 2010 as in Tian et al. 2020's code: the noise mass is K/N). Rows and anchors
have unit length; banks and Z are constants. Everything from the products on is float32 or wider,
because exp(1/0.07) overflows float16.
"""

from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.errors import Refused
from xkd.losses import at_least_float32

EPSILON = 1e-7
MOMENTUM = 0.5  # of a bank's rows


class Bank(nn.Module):
    """Embeddings of all training images, as they were when each was seen last; [N, d]."""

    def __init__(self, images: int, width: int) -> None:
        """Uniform in ±√(3/d); a bank of zeros would break the loss at the start."""
        super().__init__()
        bound = (3 / width) ** 0.5
        self.register_buffer("rows", torch.empty(images, width).uniform_(-bound, bound))

    def update(self, index: Tensor, anchors: Tensor) -> None:
        """Moves rows towards anchors, M[i] ← unit(0.5 · M[i] + 0.5 · v); in place.

        Args:
            index: of the images, [B], none twice; anchors: v, [B, d].
        """
        moved = MOMENTUM * self.rows[index] + (1 - MOMENTUM) * anchors.to(self.rows.dtype)
        self.rows.index_copy_(0, index, F.normalize(moved, dim=1))


class Negatives(nn.Module):
    """Draws images of other classes, uniformly, from torch's global generator of the device.

    Without replacement within an image's list, unless there are too few.
    """

    def __init__(self, labels: Tensor, count: int) -> None:
        """labels: of all training images, [N]; count: K.

        Raises: Refused if all images are of one class.
        """
        super().__init__()
        self.count = count
        of_class = Counter(labels.tolist())
        fewest = len(labels) - max(of_class.values())
        if not fewest:
            raise Refused("contrast needs images of two classes at least; found one")
        self.replaced = count > fewest
        self.register_buffer("labels", labels, persistent=False)
        # In the order of the classes, the images of all others but c follow c's in a ring.
        sizes = torch.tensor([of_class[c] for c in range(max(of_class) + 1)])
        self.register_buffer("order", labels.argsort(stable=True), persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("ends", sizes.cumsum(0), persistent=False)

    def forward(self, labels: Tensor) -> Tensor:
        """Positions among all training images, [B, K], for images of these classes, [B]."""
        images, device = len(self.labels), labels.device
        if self.replaced:
            others = (images - self.sizes[labels])[:, None]
            drawn = torch.rand(len(labels), self.count, device=device, dtype=torch.float64)
            steps = (drawn * others).long().clamp_max(others - 1)
            return self.order[(self.ends[labels][:, None] + steps) % images]
        keys = torch.rand(len(labels), images, device=device)
        keys = keys.masked_fill(self.labels == labels[:, None], 2.0)
        return keys.topk(self.count, dim=1, largest=False, sorted=False).indices


def similarities(rows: Tensor, anchors: Tensor, index: Tensor, temperature: float) -> Tensor:
    """exp( ⟨M[idx_k], v⟩ / τ ), the numerators of P.

    Scores the whole bank where that moves less memory than gathering rows would.

    Args:
        rows: M, [N, d], a constant.
        anchors: v, [B, d], or [A, B, d] for several anchors of every image.
        index: idx, [B, K + 1].
        temperature: τ.
    Returns: [B, K + 1], or [A, B, K + 1].
    """
    anchors, rows = at_least_float32(anchors), rows.detach()
    with torch.autocast(anchors.device.type, enabled=False):
        if index.numel() > len(rows):
            scores = anchors @ rows.T
            scores = scores.gather(-1, index.expand(*scores.shape[:-1], index.shape[1]))
        else:
            scores = torch.einsum("...bd,bkd->...bk", anchors, rows[index])
        return (scores / temperature).exp()


def partition(numerators: Tensor, images: int) -> Tensor:
    """Z = N · mean of the numerators over batch and list, a constant; [], or [A] per anchor."""
    return images * numerators.detach().mean(dim=(-2, -1))


def contrast_loss(numerators: Tensor, constant: Tensor, images: int) -> Tensor:
    """NCE, mean over the batch.

    Args:
        numerators: exp( ⟨M[idx_k], v⟩ / τ ), the image itself first, [B, K + 1].
        constant: Z, a scalar.
        images: N.
    Returns: scalar in nats.
    """
    p, noise = numerators / constant, (numerators.shape[1] - 1) / images
    own = (p[:, 0] / (p[:, 0] + noise + EPSILON)).log()
    others = (noise / (p[:, 1:] + noise + EPSILON)).log()
    return -(own + others.sum(dim=1)).mean()


def unit(embeddings: Tensor) -> Tensor:
    """Rows of unit length, float32 or wider; [B, d]."""
    return F.normalize(at_least_float32(embeddings), dim=1)
