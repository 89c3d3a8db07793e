"""Calibration, entropy, clusters, class similarity: values by hand, and against torchmetrics."""

import numpy as np
import pytest

from xkd.errors import Refused
from xkd.measures.calibration import ece, reliability, top1
from xkd.measures.class_similarity import mean_similarity, pair_ranks
from xkd.measures.clusters import (
    balanced_subset,
    cluster_scores,
    embed,
    scale_axes,
    scale_globally,
    silhouette,
)
from xkd.measures.entropy import mean_entropy_bits


def test_ece_of_two_bins_by_hand():
    # (0, 0.5]: 0.4 right; (0.5, 1]: 0.6 wrong, 0.9 right, mean 0.75, half right
    assert ece([0.4, 0.6, 0.9], [1, 0, 1], bins=2) == pytest.approx(
        1 / 3 * abs(1 - 0.4) + 2 / 3 * abs(0.5 - 0.75)
    )


def test_bins_are_open_on_the_left_and_closed_on_the_right():
    table = reliability([0.25, 0.5, 0.75, 1.0], [1, 1, 0, 1], bins=4)
    assert table["count"] == [1, 1, 1, 1]
    assert table["accuracy"] == [1, 1, 0, 1]
    assert table["edges"] == [0, 0.25, 0.5, 0.75, 1]


def test_empty_bins_hold_none_and_cost_nothing():
    table = reliability([0.95, 0.95], [1, 1], bins=10)
    assert table["confidence"][:9] == [None] * 9
    assert ece([0.95, 0.95], [1, 1], bins=10) == pytest.approx(0.05)


@pytest.mark.parametrize("bins", [10, 15, 20])
def test_ece_agrees_with_torchmetrics(bins):
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    draw = np.random.default_rng(bins)
    labels = draw.integers(0, 10, 5000)
    logits = (draw.normal(size=(5000, 10)) + 2.5 * np.eye(10)[labels]).astype(np.float32)
    theirs = multiclass_calibration_error(
        torch.tensor(logits).softmax(1), torch.tensor(labels), num_classes=10, n_bins=bins
    )
    assert ece(*top1(logits, labels), bins) == pytest.approx(float(theirs), abs=2e-6)


def test_top1_survives_large_logits():
    confidence, correct = top1([[1000.0, 0.0], [0.0, 1000.0]], [0, 0])
    assert confidence.tolist() == [1, 1]
    assert correct.tolist() == [True, False]


@pytest.mark.parametrize(
    ("confidence", "correct", "bins"),
    [([0.5], [1, 0], 10), ([], [], 10), ([3.1], [1], 10), ([0.5], [1], 0)],
)
def test_reliability_refuses_what_is_no_prediction(confidence, correct, bins):
    with pytest.raises(ValueError, match=r"expected|pass probabilities"):
        reliability(confidence, correct, bins)


def test_entropy_of_equal_logits_is_log2_of_the_classes():
    assert mean_entropy_bits(np.zeros((3, 8))) == pytest.approx(3)


def test_entropy_of_two_classes_by_hand():
    # q = (3/4, 1/4) at T = 4 needs a logit gap of 4 ln 3
    expected = 0.75 * np.log2(4 / 3) + 0.25 * np.log2(4)
    assert mean_entropy_bits([[4 * np.log(3), 0]]) == pytest.approx(expected)


def test_entropy_is_a_mean_over_images_and_ignores_shifts():
    assert mean_entropy_bits([[5, 5], [900, -900]], temperature=1) == pytest.approx(0.5)


def test_entropy_accumulates_in_double_precision():
    logits = np.random.default_rng(0).normal(size=(100, 50)).astype(np.float16)
    assert mean_entropy_bits(logits) == mean_entropy_bits(logits.astype(np.float64))


def test_silhouette_of_four_points_by_hand():
    # Two pairs on a line: inside 1, to the other pair 10.5 and 9.5 on average
    points = [[0.0], [1.0], [10.0], [11.0]]
    expected = ((10.5 - 1) / 10.5 + (9.5 - 1) / 9.5) / 2
    assert silhouette(points, [0, 0, 1, 1]) == pytest.approx(expected)


def test_singletons_score_zero():
    # 0 and 1 form a cluster, 10 is alone: (9/10 + 8/9 + 0) / 3
    assert silhouette([[0.0], [1.0], [10.0]], [0, 0, 1]) == pytest.approx((0.9 + 8 / 9) / 3)


def test_cosine_silhouette_ignores_length():
    points = np.array([[1.0, 0.1], [5.0, 0.4], [0.1, 1.0], [0.3, 7.0]])
    lengths = np.array([[1.0], [30.0], [2.0], [0.5]])
    labels = [0, 0, 1, 1]
    assert silhouette(points * lengths, labels, "cosine") == pytest.approx(
        silhouette(points, labels, "cosine")
    )


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_silhouette_refuses_one_class_and_all_singletons(labels):
    with pytest.raises(Refused, match="at least 2 classes"):
        silhouette(np.eye(3), labels)


def test_tsne_refuses_too_few_points_for_its_perplexity():
    with pytest.raises(Refused, match=r"more than 30 points, found 30"):
        embed(np.random.default_rng(0).normal(size=(30, 4)))


def test_tsne_is_repeatable_and_fills_the_unit_square():
    logits = np.random.default_rng(1).normal(size=(60, 5))
    points = embed(logits, seed=3)
    assert points.shape == (60, 2)
    assert points.min(axis=0).tolist() == [0, 0]
    assert points.max(axis=0).tolist() == [1, 1]
    assert np.array_equal(points, embed(logits, seed=3))


def test_seeds_start_tsne_elsewhere():
    """A start from principal components alone would make all seeds the same, and their spread 0."""
    logits = np.random.default_rng(1).normal(size=(60, 5))
    first, second, third = (embed(logits, seed=seed) for seed in range(3))
    assert np.abs(first - second).max() > 0.01
    assert np.abs(second - third).max() > 0.01


def test_scaling_is_global_for_logits_and_per_axis_for_embeddings():
    values = [[0, 10], [5, 20]]
    assert scale_globally(values).tolist() == [[0, 0.5], [0.25, 1]]
    assert scale_axes(values).tolist() == [[0, 0], [1, 1]]
    assert scale_axes([[1, 2], [1, 3]]).tolist() == [[0, 0], [0, 1]]


def test_cluster_scores_cover_both_spaces_and_separate_good_clusters():
    draw = np.random.default_rng(2)
    fine = np.repeat(np.arange(4), 12)
    logits = 8 * np.eye(4)[fine] + draw.normal(size=(48, 4))
    labels = {"super": fine // 2, "sub": fine}
    rows, none = cluster_scores(logits, labels)
    more, points = cluster_scores(logits, labels, seed=1)
    assert [(row["space"], row["metric"], row["seed"]) for row in [*rows, *more][::2]] == [
        ("logits", "euclidean", None),
        ("logits", "cosine", None),
        ("embedding", "euclidean", 1),
    ]
    assert min(row["silhouette"] for row in [*rows, *more] if row["labels"] == "sub") > 0.5
    assert none is None
    assert np.array_equal(points, embed(logits, seed=1))


def test_subset_is_class_balanced_fixed_and_at_most_as_large_as_asked():
    labels = np.repeat([0, 1, 2], [50, 30, 400])
    chosen = balanced_subset(labels, 100, seed=7)
    assert np.bincount(labels[chosen]).tolist() == [33, 30, 33]
    assert np.array_equal(chosen, balanced_subset(labels, 100, seed=7))
    assert not np.array_equal(chosen, balanced_subset(labels, 100, seed=8))
    assert balanced_subset(labels, 480).tolist() == list(range(480))
    with pytest.raises(Refused, match="cannot hold 3 classes"):
        balanced_subset(labels, 2)


def test_mean_similarity_weights_images_not_batches():
    first, second = np.zeros((3, 2, 2)), np.ones((1, 2, 2))
    assert mean_similarity([first, second]).tolist() == [[0.25, 0.25], [0.25, 0.25]]


@pytest.mark.parametrize("batches", [[], [np.zeros((2, 3))], [np.zeros((2, 3, 4))]])
def test_mean_similarity_refuses_other_shapes(batches):
    with pytest.raises(ValueError, match=r"no images|expected"):
        mean_similarity(batches)


def test_pairs_are_ranked_among_the_off_diagonal_cells():
    similarity = [[1.0, 0.2, 0.9], [0.2, 1.0, 0.5], [0.9, 0.5, 1.0]]
    ranks = pair_ranks(similarity, ["cat", "ship", "dog"], [("dog", "cat"), ("cat", "ship")])
    assert [(rank.rank, rank.of) for rank in ranks] == [(1, 3), (3, 3)]
    assert ranks[0].similarity == pytest.approx(0.9)


def test_tied_pairs_share_a_rank():
    similarity = np.full((3, 3), 0.4)
    ranks = pair_ranks(similarity, ["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert [rank.rank for rank in ranks] == [1, 1]


def test_unknown_class_is_refused_with_a_hint():
    with pytest.raises(Refused, match="unknown class 'truk'; did you mean 'truck'"):
        pair_ranks(np.eye(2), ["truck", "car"], [("truk", "car")])
