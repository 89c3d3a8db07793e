"""Pointing game, intensity, average drop and increase, by hand."""

import pytest
import torch

from xkd.measures.saliency import (
    average_drop,
    average_increase,
    box_masks,
    explained_part,
    intensity,
    pointing_accuracy,
    pointing_hits,
    scaled,
)


def test_maps_are_stretched_each_by_itself_and_constant_ones_keep_everything():
    maps = torch.tensor([[[-2.0, 0.0], [2.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]])
    assert scaled(maps).tolist() == [[[0, 0.5], [1, 0.5]], [[1, 1], [1, 1]]]
    assert intensity(maps).tolist() == [0.5, 1.0]


def test_intensity_does_not_change_with_scale_or_offset():
    maps = torch.rand(4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(intensity(3 * maps - 7), intensity(maps))


def test_a_map_points_at_the_object_when_its_largest_pixel_lies_on_it():
    maps, objects = torch.zeros(2, 5, 5), torch.zeros(2, 5, 5, dtype=torch.bool)
    objects[:, 1:3, 1:3] = True
    maps[0, 1, 2] = maps[1, 4, 4] = 1
    assert pointing_hits(maps, objects).tolist() == [True, False]


def test_boxes_become_masks_with_exclusive_ends():
    found = box_masks(torch.tensor([[1, 0, 2, 2], [0, 0, 0, 3]]), (3, 3))
    assert found[0].tolist() == [[False] * 3, [True, True, False], [False] * 3]
    assert not found[1].any()


def test_the_tolerance_is_a_disc_about_the_largest_pixel():
    maps, objects = torch.zeros(1, 7, 7), torch.zeros(1, 7, 7, dtype=torch.bool)
    objects[0, 0, 0] = True
    maps[0, 3, 4] = 1  # 5 pixels away
    assert not pointing_hits(maps, objects, 4.9).item()
    assert pointing_hits(maps, objects, 5.0).item()


def test_a_constant_map_hits_by_chance_alone():
    objects = torch.zeros(1, 8, 8, dtype=torch.bool)
    objects[:, :, :4] = True
    hits = [pointing_hits(torch.ones(1, 8, 8), objects, ties=seed).item() for seed in range(400)]
    assert 0.4 < sum(hits) / 400 < 0.6


def test_pointing_accuracy_is_a_mean_over_classes_not_images():
    hits, labels = torch.tensor([True, True, True, False]), torch.tensor([0, 0, 0, 7])
    assert pointing_accuracy(hits, labels) == 0.5


def test_drop_counts_falls_and_increase_counts_rises():
    whole, part = torch.tensor([0.8, 0.5, 0.4]), torch.tensor([0.4, 0.6, 0.4])
    assert average_drop(whole, part) == pytest.approx(0.5 / 3)
    assert average_increase(whole, part) == pytest.approx(1 / 3)


def test_the_explained_part_fades_to_the_mean_colour():
    images = torch.full((1, 3, 1, 2), 2.0)
    part = explained_part(images, torch.tensor([[[0.0, 9.0]]]))
    assert part[0, 0].tolist() == [[0, 2]]


def test_shapes_that_differ_and_impossible_probabilities_are_refused():
    with pytest.raises(ValueError, match="differ"):
        pointing_hits(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least one"):
        pointing_accuracy(torch.zeros(0, dtype=torch.bool), torch.zeros(0))
    with pytest.raises(ValueError, match=r"expected \[B\]"):
        average_increase(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="expected the predicted class"):
        average_drop(torch.zeros(1), torch.ones(1))
