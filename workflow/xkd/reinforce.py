"""Reinforced inputs x*: images changed so that the teacher finds the true class more easily."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xkd.errors import Refused, unknown
from xkd.networks import Network
from xkd.plan.settings import DatasetSettings, Reinforcement

REFERENCE_BATCH = 64  # γ multiplied the gradient of a mean over 64 samples in the official code

Bounds = tuple[Tensor, Tensor]  # lowest and highest value per channel, each [channels, 1, 1]


class Reinforced(NamedTuple):
    """images: x*, [B, channels, size, size]; logits: of the teacher on the original x, [B, C]."""

    images: Tensor
    logits: Tensor


def reinforce(
    teacher: Network,
    images: Tensor,
    labels: Tensor,
    reinforcement: Reinforcement,
    bounds: Bounds | None = None,
) -> Reinforced:
    """Move images down the teacher's loss, each pixel in proportion to its own magnitude.

        gradient   x* = x − (γ/64) · |x| ⊙ g          Oracle, Eq. 2; A43, A44
        sign       x* = x − γ · |x| ⊙ sign(g)         A48
        random     x* = x − r,  ‖r‖ = ‖(γ/64) · |x| ⊙ g‖ per sample

    with g = ∂CE(softmax(f(x)), y)/∂x of the single sample, so that no image depends on its batch.
    The random control has r along |x| ⊙ n, n normal from torch's global generator: as far a step,
    over the same pixels, without what the gradient knows.

    Args:
        teacher: f, in evaluation mode; its parameters receive no gradient.
        images: x, [B, channels, size, size], normalised.
        labels: y, [B], int64.
        reinforcement: kind and γ; the authors' code takes one step and does not clip.
        bounds: what to clip to after every step, where the reinforcement says so; see `bounds_of`.
    Returns: x* and the logits on x, which the first step needs anyway; x itself where γ = 0.
    Raises: ValueError if the teacher is in training mode, steps < 1, or bounds are there without
        clipping or the other way round; Refused for another kind.
    """
    if teacher.training:
        raise ValueError("the teacher is in training mode; call teacher.eval() first")
    if reinforcement.steps < 1:
        raise ValueError(f"steps is {reinforcement.steps}; expected at least 1")
    if reinforcement.clip != (bounds is not None):
        raise ValueError(f"clip is {reinforcement.clip}; bounds are for clipping, and needed there")
    if reinforcement.gamma == 0:
        with torch.no_grad():
            return Reinforced(images, teacher(images).logits)
    current, first_logits = images.detach(), None
    for _ in range(reinforcement.steps):
        gradient, logits = loss_gradient(teacher, current, labels)
        first_logits = logits if first_logits is None else first_logits
        current = current - displacement(current, gradient, reinforcement)
        if bounds is not None:
            current = current.clamp(*bounds)
    return Reinforced(current, first_logits)


def loss_gradient(teacher: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each sample's cross-entropy by its own image, and the logits on the way there.

    Returns: g, shaped like images, and [B, C]; both without graph.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        logits = teacher(images).logits
        # The sum, not the mean: in evaluation mode its gradient is that of every sample alone.
        loss = F.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
    return gradient, logits.detach()


@torch.no_grad()
def step_logits(logits: Tensor, labels: Tensor, step: float) -> Tensor:
    """Logits moved down their own loss, as a control that looks at no image.

        z* = z − η · (softmax(z) − onehot(y))

    The subtrahend is ∂CE(softmax(z), y)/∂z, so this does to answers what x* does to images.

    Args:
        logits: z, [B, C]; labels: y, [B], int64; step: η ≥ 0.
    """
    truth = torch.zeros_like(logits).scatter_(1, labels[:, None], 1)
    return logits - step * (logits.softmax(1) - truth)


@torch.no_grad()
def correcting_steps(logits: Tensor, labels: Tensor) -> Tensor:
    """The η beyond which `step_logits` makes each sample's true class the largest.

        η = max over k ≠ y of (z_k − z_y) / (1 − q_y + q_k),   q = softmax(z)

    since z*_y − z*_k = z_y − z_k + η · (1 − q_y + q_k). Negative where the answer is right already.

    Args:
        logits: z, [B, C], C > 1; labels: y, [B], int64.
    Returns: [B].
    """
    q, true = logits.softmax(1), labels[:, None]
    rise = (1 - q.gather(1, true) + q).clamp_min(torch.finfo(q.dtype).tiny)
    needed = (logits - logits.gather(1, true)) / rise
    return needed.scatter(1, true, -torch.inf).amax(1)


def matching_step(steps: Tensor, accuracy: float) -> float:
    """The η at which a fraction `accuracy` of samples is right, by their `correcting_steps`, [N].

    0 where as many are right without.
    """
    ordered = steps.double().sort().values
    right = round(accuracy * len(ordered))
    if right <= int((ordered < 0).sum()):
        return 0.0
    last = ordered[right - 1]
    after = ordered[right] if right < len(ordered) else last + 1
    return float((last + after) / 2)


@torch.no_grad()
def displacement(images: Tensor, gradient: Tensor, reinforcement: Reinforcement) -> Tensor:
    """What one step takes away from the images; see `reinforce`."""
    gamma, kind = reinforcement.gamma, reinforcement.kind
    if kind == "sign":
        return gamma * images.abs() * gradient.sign()
    step = (gamma / REFERENCE_BATCH) * images.abs() * gradient
    if kind == "gradient":
        return step
    if kind == "random":
        direction = images.abs() * torch.randn_like(images)
        return direction * (_norm(step) / _norm(direction).clamp_min(1e-12))
    raise Refused(unknown("reinforcement", kind, ["gradient", "sign", "random"]))


def bounds_of(
    reinforcement: Reinforcement | None,
    dataset: DatasetSettings,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Bounds | None:
    """Normalised values of black and white, where the reinforcement clips to them."""
    if reinforcement is None or not reinforcement.clip:
        return None
    mean, std = torch.tensor([dataset.mean, dataset.std], dtype=torch.float64)[..., None, None]
    return ((0 - mean) / std).to(device, dtype), ((1 - mean) / std).to(device, dtype)


def _norm(images: Tensor) -> Tensor:
    """Euclidean norm of every image, [B, 1, 1, 1]."""
    return torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
