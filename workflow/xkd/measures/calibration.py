"""Does a network know how often it is right? Reliability and expected calibration error."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 20  # the Oracle authors' notebook (A47); 15 is the literature's habit


def top1(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray, NDArray]:
    """Confidence max_k softmax(z)_k at T = 1, and whether that class is the label.

    Args:
        logits: [N, C]; labels: [N], integers.
    Returns: confidence [N], float64, and correct [N], bool.
    """
    logits = np.asarray(logits, dtype=np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return 1 / np.exp(shifted).sum(axis=1), logits.argmax(axis=1) == np.asarray(labels)


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> dict[str, list]:
    """Mean confidence and accuracy in equal-width bins (left, right] of the top-1 probability.

    Args:
        confidence: [N], in [0, 1]; correct: [N], truth values.
    Returns: plain lists, ready for JSON: `edges` (bins + 1), `confidence`, `accuracy` (None where
        a bin is empty) and `count` (bins each).
    Raises: ValueError if the lengths differ, N = 0, bins < 1 or a confidence leaves [0, 1].
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    correct = np.asarray(correct, dtype=np.float64)
    _check(confidence, correct, bins)
    edges = np.linspace(0, 1, bins + 1)
    index = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(index, minlength=bins)
    sums = {
        "confidence": np.bincount(index, confidence, minlength=bins),
        "accuracy": np.bincount(index, correct, minlength=bins),
    }
    means = {
        name: [float(total / n) if n else None for total, n in zip(sums[name], count, strict=True)]
        for name in sums
    }
    return {"edges": edges.tolist(), **means, "count": count.tolist()}


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error.

        ECE = Σ_b (|b| / N) · |acc(b) − conf(b)|      Oracle, Eq. 5; Naeini et al. 2015

    Eq. 5 prints the indicator as 1(p_j = y_j); predicted class and label are what is compared.
    Empty bins are skipped.

    Args and Raises: as `reliability`.
    Returns: a fraction in [0, 1].
    """
    table = reliability(confidence, correct, bins)
    gaps = [
        count * abs(accuracy - mean)
        for mean, accuracy, count in zip(
            table["confidence"], table["accuracy"], table["count"], strict=True
        )
        if count
    ]
    return float(sum(gaps) / sum(table["count"]))


def _check(confidence: NDArray, correct: NDArray, bins: int) -> None:
    if confidence.shape != correct.shape or confidence.ndim != 1 or not confidence.size:
        raise ValueError(
            f"confidence {confidence.shape} and correct {correct.shape}: "
            "expected two vectors of the same length, at least 1"
        )
    if bins < 1:
        raise ValueError(f"bins = {bins}; expected at least 1")
    if not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise ValueError("a confidence lies outside [0, 1]; pass probabilities, not logits")
