"""Class-balanced splits that are the same on every machine."""

import numpy as np

from xkd.errors import Refused


def class_balanced(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of `per_class` randomly chosen samples of every class, in ascending order, int64.

    Draws from numpy's legacy generator, whose stream is frozen for good; `Generator` may change.

    Args:
        labels: [N], integers.
    Raises: Refused if a class has fewer samples than asked for.
    """
    classes, counts = np.unique(labels, return_counts=True)
    fewest = counts.min() if len(counts) else 0
    if per_class > fewest:
        raise Refused(
            f"cannot keep {per_class} samples of every class aside: the rarest class has {fewest}; "
            "lower holdout: of this data set"
        )
    order = np.random.RandomState(seed).permutation(len(labels))
    shuffled = labels[order]
    chosen = [order[shuffled == label][:per_class] for label in classes]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
