"""How well a teacher's logits separate classes: silhouette, on logits and on t-SNE embeddings.

The Oracle authors' notebook scales all logits to [0, 1] at once, embeds them by t-SNE in the plane,
scales each axis to [0, 1], and takes the Euclidean silhouette there. It leaves seed and most
settings to the library's changing defaults, so they are fixed here: PCA start, automatic learning
rate, 1000 iterations. That leaves nothing to a seed, so seeds other than 0 shake the start.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xkd.errors import Refused

PERPLEXITY = 30
ITERATIONS = 1000
START = 1e-4  # standard deviation of the first axis at the start, as in scikit-learn
SHAKING = 0.1  # of it
BLOCK_MB = 128  # of the matrix of all distances at a time


def balanced_subset(labels: ArrayLike, most: int, seed: int = 0) -> NDArray:
    """Indices of at most `most` points, the same number per class as far as classes are that large.

    Args:
        labels: [N]; all points are kept when N ≤ most.
        seed: of the draw within each class.
    Returns: ascending indices, int64.
    Raises: Refused if `most` is below the number of classes.
    """
    labels = np.asarray(labels)
    if len(labels) <= most:
        return np.arange(len(labels))
    classes = np.unique(labels)
    quota = most // len(classes)
    if not quota:
        raise Refused(
            f"a class-balanced subset of {most} points cannot hold {len(classes)} classes; "
            f"allow at least {len(classes)} points"
        )
    draw = np.random.default_rng(seed)
    kept = [draw.permutation(np.flatnonzero(labels == one))[:quota] for one in classes]
    return np.sort(np.concatenate(kept))


def scale_globally(values: ArrayLike) -> NDArray:
    """Smallest entry to 0, largest to 1, one scale for the whole matrix; zeros if all are equal."""
    values = np.asarray(values, dtype=np.float64)
    span = np.ptp(values)
    return (values - values.min()) / (span if span else 1)


def scale_axes(points: ArrayLike) -> NDArray:
    """Each column to [0, 1] on its own; zeros where a column is constant."""
    points = np.asarray(points, dtype=np.float64)
    span = np.ptp(points, axis=0)
    return (points - points.min(axis=0)) / np.where(span > 0, span, 1)


def embed(logits: ArrayLike, seed: int = 0, perplexity: float = PERPLEXITY) -> NDArray:
    """t-SNE of globally scaled logits (van der Maaten & Hinton 2008), axes scaled to [0, 1].

    Bitwise repeatable for a given number of threads.

    Args:
        logits: [N, C]; not softmax.
        seed: 0 starts from the first two principal components, others from these under a little
            noise of their own.
    Returns: [N, 2], float64.
    Raises: Refused unless N exceeds the perplexity.
    """
    logits = scale_globally(logits)
    if len(logits) <= perplexity:
        raise Refused(
            f"t-SNE with perplexity {perplexity:g} needs more than {perplexity:g} points, "
            f"found {len(logits)}; analyse a larger split or allow more points"
        )
    from sklearn.manifold import TSNE  # costs a second, and most callers only want a silhouette

    tsne = TSNE(
        n_components=2,
        perplexity=perplexity,
        init=_start(logits, seed),
        learning_rate="auto",
        max_iter=ITERATIONS,
    )
    return scale_axes(tsne.fit_transform(logits))


def _start(points: NDArray, seed: int) -> NDArray:
    """Where t-SNE starts: [N, 2], float32."""
    from sklearn.decomposition import PCA

    axes = PCA(n_components=2, svd_solver="full").fit_transform(points)
    start = axes * (START / (np.std(axes[:, 0]) or 1))
    if seed:
        start += np.random.default_rng(seed).normal(scale=SHAKING * START, size=start.shape)
    return start.astype(np.float32)


def silhouette(points: ArrayLike, labels: ArrayLike, metric: str = "euclidean") -> float:
    """Mean silhouette of labelled points.

        s(k) = (D_nc(k) − D_ic(k)) / max(D_nc(k), D_ic(k))      Oracle, Eq. 6; Rousseeuw 1987

    D_ic leaves the point itself out; a class with a single point scores 0.

    Args:
        points: [N, D]; labels: [N]; metric: "euclidean" or "cosine".
    Returns: in [−1, 1].
    Raises: Refused unless there are between 2 and N − 1 classes.
    """
    labels = np.asarray(labels)
    if not 2 <= (classes := len(np.unique(labels))) < len(labels):
        raise Refused(
            f"the silhouette of {len(labels)} points in {classes} classes is undefined; "
            "it needs at least 2 classes and more points than classes"
        )
    from sklearn import config_context
    from sklearn.metrics import silhouette_score

    with config_context(working_memory=BLOCK_MB):
        return float(silhouette_score(np.asarray(points), labels, metric=metric))


def cluster_scores(
    logits: ArrayLike,
    labels: Mapping[str, ArrayLike],
    seed: int | None = None,
    perplexity: float = PERPLEXITY,
) -> tuple[list[dict[str, object]], NDArray | None]:
    """Silhouettes of the logits themselves, by both metrics, or of one embedding of them.

    Args:
        logits: [N, C].
        labels: granularity -> [N], for example {"super": coarse, "sub": fine}.
        seed: of the embedding; None for the logits, which have no randomness.
    Returns: rows with space, metric, labels, seed, silhouette; and the embedding, [N, 2], if any.
    Raises: Refused, as `embed` and `silhouette`.
    """
    if seed is None:
        space, points, metrics = "logits", np.asarray(logits), ("euclidean", "cosine")
    else:
        space, points, metrics = "embedding", embed(logits, seed, perplexity), ("euclidean",)
    rows = [
        {
            "space": space,
            "metric": metric,
            "labels": granularity,
            "seed": seed,
            "silhouette": silhouette(points, classes, metric),
        }
        for metric in metrics
        for granularity, classes in labels.items()
    ]
    return rows, None if seed is None else points
