"""Which classes a network explains alike: mean cosine between the explanations of two classes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xkd.errors import Refused, unknown


class PairRank(NamedTuple):
    """Rank 1 is the most similar of the `of` = C(C−1)/2 unordered pairs; ties share the rank."""

    first: str
    second: str
    similarity: float
    rank: int
    of: int


def mean_similarity(batches: Iterable[ArrayLike]) -> NDArray:
    """Class similarity averaged over images.

        M[a, b] = (1/N) Σ_i cos(e^a(x_i), e^b(x_i))      LE, Fig. 2

    All images count, not only those of classes a and b. The text calls it a distance; higher means
    more alike (A39).

    Args:
        batches: cosines, each [B, C, C].
    Returns: [C, C], float64; the diagonal falls below 1 by the share of zero maps.
    Raises: ValueError if there are no images or a batch has another shape.
    """
    total, images = 0.0, 0
    for batch in batches:
        batch = np.asarray(batch)
        if batch.ndim != 3 or batch.shape[1] != batch.shape[2]:
            raise ValueError(f"cosines {batch.shape}; expected [B, C, C]")
        total = total + batch.sum(axis=0, dtype=np.float64)
        images += len(batch)
    if not images:
        raise ValueError("no images to average over")
    return total / images


def pair_ranks(
    similarity: ArrayLike, class_names: Sequence[str], pairs: Iterable[tuple[str, str]]
) -> list[PairRank]:
    """Where named pairs stand among all off-diagonal cells, the two halves averaged.

    Args:
        similarity: [C, C]; class_names: C names, as in the data set's manifest.
    Raises: Refused for a class that is not there.
    """
    similarity = np.asarray(similarity, dtype=np.float64)
    similarity = (similarity + similarity.T) / 2
    others = similarity[np.triu_indices_from(similarity, k=1)]
    names = [str(name) for name in class_names]
    ranks = []
    for first, second in pairs:
        for name in (first, second):
            if name not in names:
                raise Refused(unknown("class", name, names))
        value = similarity[names.index(first), names.index(second)]
        rank = 1 + int((others > value).sum())
        ranks.append(PairRank(first, second, float(value), rank, len(others)))
    return ranks
