"""Cosines of explanations and the targets made of them, against arithmetic by hand."""

import pytest
import torch

from xkd.similarity import (
    class_similarity,
    introspective_targets,
    similarity_matrix,
    unit,
    zero_map_fractions,
)

CLASSES = 5


def test_similarity_equals_the_cosines_computed_by_hand():
    maps = torch.tensor([[[3.0, 4.0], [4.0, 3.0], [-3.0, -4.0], [4.0, -3.0], [0.0, 0.0]]])
    found = class_similarity(maps, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.96, -1.0, 0.0, 0.0]]))


def test_similarity_ignores_the_scale_of_a_map_however_small():
    torch.manual_seed(0)
    maps, labels = torch.randn(8, CLASSES, 49), torch.randint(CLASSES, (8,))
    expected = class_similarity(maps, labels)
    for scale in (1e-30, 1e-12, 1e12, 1e30):
        found = class_similarity(maps * scale, labels)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_similarity_depends_on_a_shift_of_the_maps():
    maps = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    assert class_similarity(maps, torch.tensor([0]))[0, 1] == 0
    assert class_similarity(maps + 1, torch.tensor([0]))[0, 1] == pytest.approx(0.8)


def test_cosines_stay_within_one_where_rounding_would_leave_it():
    torch.manual_seed(0)
    row = torch.rand(500, 1, 333)
    maps = torch.cat([row, row * 3, -row * 7], dim=1)
    found = class_similarity(maps, torch.zeros(500, dtype=torch.int64))
    assert found.abs().max() <= 1
    assert similarity_matrix(maps).abs().max() <= 1


def test_the_matrix_holds_the_similarity_to_every_class():
    torch.manual_seed(0)
    maps = torch.randn(6, CLASSES, 20, dtype=torch.float64)
    maps[:, 3] = 0
    matrix = similarity_matrix(maps)
    torch.testing.assert_close(matrix, matrix.mT)
    for k in range(CLASSES):
        found = class_similarity(maps, torch.full((6,), k))
        torch.testing.assert_close(matrix[:, k], found)
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    expected = torch.ones(6, CLASSES, dtype=torch.float64)
    expected[:, 3] = 0
    torch.testing.assert_close(diagonal, expected)


def test_similarity_is_float32_under_mixed_precision():
    torch.manual_seed(0)
    maps, labels = torch.randn(4, CLASSES, 64).bfloat16(), torch.randint(CLASSES, (4,))
    expected = class_similarity(maps.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        found, matrix = class_similarity(maps, labels), similarity_matrix(maps)
    assert found.dtype == matrix.dtype == unit(maps).dtype == torch.float32
    assert torch.equal(found, expected)
    torch.testing.assert_close(matrix, similarity_matrix(maps.float()), rtol=0, atol=0)


def test_fractions_of_zero_maps_are_counted_apart_for_true_and_other_classes():
    maps = torch.ones(4, 3, 2)
    maps[0, 0] = maps[1, 0] = maps[2, 1] = maps[3, 2] = 0
    maps[3, 1, 0] = 0  # half empty is not empty
    true, other = zero_map_fractions(maps, torch.tensor([0, 1, 1, 1]))
    assert true == 2 / 4
    assert other == 2 / 8


def test_targets_of_three_classes_equal_those_computed_by_hand():
    similarity = torch.tensor([[1.0, 0.5, -0.25], [0.2, 1.0, 0.2], [-1.0, 0.6, 1.0]])
    found = introspective_targets(similarity, torch.tensor([0, 1, 2]), alpha=0.7)
    # Row 1: shares 1.5 and 0.75 of 0.3; row 2: equal shares; row 3: shares 0 and 1.6.
    expected = torch.tensor([[0.7, 0.2, 0.1], [0.15, 0.7, 0.15], [0.0, 0.3, 0.7]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_targets_are_distributions_with_alpha_on_the_label_and_ordered_like_the_cosines(
    alpha, classes
):
    torch.manual_seed(classes)
    similarity = torch.rand(50, classes) * 2 - 1
    labels = torch.randint(classes, (50,))
    targets = introspective_targets(similarity, labels, alpha)
    torch.testing.assert_close(targets.sum(1), torch.ones(50))
    assert (targets >= 0).all()
    assert torch.equal(targets.gather(1, labels[:, None]), torch.full((50, 1), alpha))
    if alpha < 1:
        others = torch.ones(50, classes, dtype=torch.bool).scatter(1, labels[:, None], False)
        order = [rows[others].view(50, -1).argsort(1) for rows in (similarity, targets)]
        assert torch.equal(*order)


def test_non_negative_maps_spread_by_at_most_a_factor_of_two():
    torch.manual_seed(0)
    maps, labels = torch.randn(64, 10, 16).relu(), torch.randint(10, (64,))
    targets = introspective_targets(class_similarity(maps, labels), labels, 0.9)
    others = targets.scatter(1, labels[:, None], torch.nan)
    low, high = others.nan_to_num(9).amin(1), others.nan_to_num(-9).amax(1)
    assert (high <= 2 * low * (1 + 1e-6)).all()


def test_a_zero_map_of_the_true_class_gives_exactly_label_smoothing():
    torch.manual_seed(0)
    maps, labels = torch.randn(16, 10, 64).relu(), torch.randint(10, (16,))
    maps[torch.arange(16), labels] = 0
    targets = introspective_targets(class_similarity(maps, labels), labels, 0.9)
    smoothed = torch.full((16, 10), 0.1 / 9).scatter(1, labels[:, None], 0.9)
    torch.testing.assert_close(targets, smoothed, rtol=1e-7, atol=0)


def test_a_zero_map_of_another_class_gets_the_smallest_share_among_non_negative_maps():
    maps = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]])
    labels = torch.tensor([0])
    targets = introspective_targets(class_similarity(maps, labels), labels, 0.9)
    cosine = 2**-0.5
    expected = torch.tensor([[0.9, 0.1 * (cosine + 1) / (cosine + 2), 0.1 / (cosine + 2)]])
    torch.testing.assert_close(targets, expected)


def test_opposite_maps_in_all_other_classes_fall_back_to_an_even_spread():
    similarity = torch.tensor([[1, -1, -1], [1, -1, -1 + 5e-7]], dtype=torch.float64)
    targets = introspective_targets(similarity, torch.tensor([0, 0]), 0.8)
    torch.testing.assert_close(targets, torch.tensor([[0.8, 0.1, 0.1]] * 2, dtype=torch.float64))
    maps = torch.tensor([[[1.0, 2.0], [-1.0, -2.0], [-2.0, -4.0]]])
    targets = introspective_targets(
        class_similarity(maps, torch.tensor([0])), torch.tensor([0]), 0.8
    )
    torch.testing.assert_close(targets, torch.tensor([[0.8, 0.1, 0.1]]))
