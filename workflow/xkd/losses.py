"""Losses shared by the methods: pure functions of logits and features, averaged over the batch.

Results are float32 or wider, whatever the precision of the networks. Teachers are constants: they
are detached here, so that no method can forget it. Nothing reads a tensor's value on the host.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy with labels or with target distributions.

        CE = Σ_i w_i · ( −Σ_k t_ik ln softmax(a_i)_k )

    Args:
        logits: a, [B, C].
        targets: labels, [B] int64, or distributions t over the classes, [B, C].
        weights: w, [B], one factor per sample; 1/B each by default.
    Returns: scalar in nats.
    Raises: ValueError if targets or weights do not fit the logits.
    """
    if targets.shape not in (logits.shape[:1], logits.shape):
        raise ValueError(
            f"targets are {list(targets.shape)} for logits {list(logits.shape)}; "
            "expected [B] labels or [B, C] distributions"
        )
    if weights is not None and weights.shape != logits.shape[:1]:
        raise ValueError(f"weights are {list(weights.shape)}; expected one per sample, [B]")
    log_p = F.log_softmax(at_least_float32(logits), dim=1)
    if targets.shape == logits.shape:
        losses = -(targets * log_p).sum(dim=1)
    else:
        losses = F.nll_loss(log_p, targets, reduction="none")
    return losses.mean() if weights is None else (weights * losses).sum()


def kl_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL( softmax(z_t) ‖ softmax(z_s) ): the teacher is the reference distribution.

    Args:
        student, teacher: logits, [B, C]; the teacher receives no gradient.
    Returns: scalar in nats, summed over classes, mean over the batch.
    Raises: ValueError if shapes differ.
    """
    _same_shape(student, teacher)
    log_p = F.log_softmax(at_least_float32(student), dim=1)
    log_q = F.log_softmax(at_least_float32(teacher.detach()), dim=1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of softened student from softened teacher predictions.

        L = T² · KL( softmax(z_t / T) ‖ softmax(z_s / T) )      Hinton et al. 2015, §2

    Args:
        student, teacher: logits, [B, C]; the teacher receives no gradient.
        temperature: T > 0; T² keeps gradients comparable across temperatures.
    Returns: scalar in nats, summed over classes, mean over the batch.
    Raises: ValueError if shapes differ or T ≤ 0.
    """
    softened = (_softened(logits, temperature) for logits in (student, teacher))
    return temperature**2 * kl_divergence(*softened)


def decoupled_losses(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The two parts of the softened divergence: about the target class, and among the others.

        TCKD = T² · KL( (q_g, 1 − q_g) ‖ (p_g, 1 − p_g) )
        NCKD = T² · KL( q̂ ‖ p̂ ),   q̂_k = q_k / (1 − q_g) for k ≠ g      Zhao et al. 2022, §3.1

    with softened q (teacher), p (student) and the label g. Per sample the soft-target loss is
    TCKD + (1 − q_g) · NCKD: a confident teacher silences what it knows about the other classes.

    Args:
        student, teacher: logits, [B, C]; the teacher receives no gradient.
        labels: g, [B] int64.
        temperature: T > 0.
    Returns: (TCKD, NCKD), scalars in nats, mean over the batch.
    Raises: ValueError if shapes differ or T ≤ 0.
    """
    _same_shape(student, teacher)
    student_target, student_others = _split(_softened(student, temperature), labels)
    teacher_target, teacher_others = _split(_softened(teacher, temperature), labels)
    return (
        temperature**2 * kl_divergence(student_target, teacher_target),
        temperature**2 * kl_divergence(student_others, teacher_others),
    )


def standardised(logits: Tensor) -> Tensor:
    """Logits of mean 0 and standard deviation 1 over the classes of every image.

        ã_k = (a_k − mean_k a) / (std_k a + 1e-7)      Sun et al. 2024

    with the unbiased standard deviation (c − 1), as in the authors' code. Gradient flows through
    both statistics.

    Args:
        logits: a, [B, C], C ≥ 2.
    Returns: [B, C].
    """
    logits = at_least_float32(logits)
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + 1e-7)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the predictions, H(p) = −Σ_k p_k ln p_k with p = softmax(a).

    Args:
        logits: a, [B, C]; gradient flows through them.
    Returns: scalar in nats, mean over the batch.
    """
    log_p = F.log_softmax(at_least_float32(logits), dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean()


def smoothed_targets(labels: Tensor, logits: Tensor, confidence: float) -> Tensor:
    """Targets that keep `confidence` on the label and share the rest among the *other* classes.

        t_g = s,   t_k = (1 − s) / (c − 1) for k ≠ g      LE, §5.1

    The usual convention mixes with the uniform distribution over all classes instead; its
    ε = (1 − s) · c / (c − 1) gives the same targets.

    Args:
        labels: g, [B] int64.
        logits: that the targets are for, [B, C] with c ≥ 2 classes; their values do not matter.
        confidence: s in (0, 1].
    Returns: [B, C] in the logits' number format, or float32 if that is wider; rows sum to one.
    Raises: ValueError if c or s is out of range.
    """
    classes = logits.shape[1]
    if classes < 2 or not 0 < confidence <= 1:
        raise ValueError(
            f"confidence {confidence} with {classes} classes; expected (0, 1] and at least 2"
        )
    rest = (1 - confidence) / (classes - 1)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    others = torch.full((len(labels), classes), rest, dtype=dtype, device=labels.device)
    return others.scatter(1, labels[:, None], confidence)


def permute_others(values: Tensor, kept: Tensor) -> Tensor:
    """Rows whose entries besides one are shuffled, uniformly and anew for every sample.

    Draws from torch's global generator of the tensors' device.

    Args:
        values: [B, C], logits or probabilities.
        kept: the class whose entry stays in place, [B] int64.
    Returns: [B, C].
    """
    others = _others(kept, values.shape[1])
    order = torch.rand(others.shape, device=values.device).argsort(dim=1)
    return values.scatter(1, others, values.gather(1, others.gather(1, order)))


def attention_map(features: Tensor) -> Tensor:
    """Spatial attention: where the activations are large.

        Q = vec( mean_ch F² ) / ‖ vec( mean_ch F² ) ‖₂      Zagoruyko & Komodakis 2017, §3.1

    Power and normalisation are those of the authors' code (A35).

    Args:
        features: F, [B, channels, h, w].
    Returns: [B, h·w], rows of unit length; zero where all features are.
    """
    return F.normalize(at_least_float32(features).square().mean(dim=1).flatten(1), dim=1)


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """mean( (Q_s − Q_t)² ) of two attention maps, over batch and positions (A35).

    Args:
        student, teacher: features, [B, channels, h, w], channels may differ; the teacher receives
            no gradient.
    Returns: scalar.
    Raises: ValueError if h or w differ.
    """
    _same_shape(student[:, 0], teacher[:, 0])
    return F.mse_loss(attention_map(student), attention_map(teacher.detach()))


def fsp_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Flow of the solution procedure between two layers.

        G = (1 / hw) · Σ_pos F[:, pos] F'[:, pos]ᵀ      Yim et al. 2017, Eq. 1

    The larger map is max-pooled to the size of the smaller one (A36).

    Args:
        first, second: F and F', [B, channels, h, w]; channels may differ, and of the sizes one is a
            multiple of the other.
    Returns: [B, channels of F, channels of F'].
    Raises: ValueError if the sizes do not divide.
    """
    size = min(first.shape[2:], second.shape[2:])
    first, second = (
        _max_pooled(at_least_float32(maps), size).flatten(2) for maps in (first, second)
    )
    with torch.autocast(first.device.type, enabled=False):  # small differences of G matter
        return first @ second.mT / first.shape[2]


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """mean( (F_s − F_t)² ) over all entries, for hints (Romero et al. 2015) and FSP matrices.

    Args:
        student, teacher: equal shapes; the teacher receives no gradient.
    Returns: scalar.
    Raises: ValueError if shapes differ.
    """
    _same_shape(student, teacher)
    return F.mse_loss(at_least_float32(student), at_least_float32(teacher.detach()))


def mean_pooled(maps: Tensor, side: int) -> Tensor:
    """Means over side × side fields, which overlap where the sizes do not divide.

    Adaptive average pooling; by another operation where the fields are equal, because the gradient
    of that one is not deterministic on GPUs.

    Args:
        maps: [B, channels, h, w].
    Returns: [B, channels, side, side].
    """
    height, width = maps.shape[2:]
    if height % side or width % side:
        return F.adaptive_avg_pool2d(maps, side)
    return F.avg_pool2d(maps, (height // side, width // side))


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision becomes float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _softened(logits: Tensor, temperature: float) -> Tensor:
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; expected a positive number")
    return at_least_float32(logits) / temperature


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of (target class, all others together), [B, 2], and of the others alone, [B, C − 1].

    Leaving the target out, rather than masking it by a large negative number, is exact and cannot
    overflow; the others together weigh Σ exp, hence log-sum-exp.
    """
    target = logits.gather(1, labels[:, None])
    others = logits.gather(1, _others(labels, logits.shape[1]))
    return torch.cat([target, others.logsumexp(dim=1, keepdim=True)], dim=1), others


def _others(labels: Tensor, classes: int) -> Tensor:
    """All classes but the label, ascending, [B, C − 1]."""
    places = torch.arange(classes - 1, device=labels.device)
    return places + (places >= labels[:, None])


def _max_pooled(maps: Tensor, size: torch.Size) -> Tensor:
    height, width = (have // want for have, want in zip(maps.shape[2:], size, strict=True))
    if (height * size[0], width * size[1]) != tuple(maps.shape[2:]):
        raise ValueError(f"cannot pool {list(maps.shape[2:])} to {list(size)}; expected a multiple")
    return maps if height == width == 1 else F.max_pool2d(maps, (height, width))


def _same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(f"student {list(student.shape)} and teacher {list(teacher.shape)} differ")
