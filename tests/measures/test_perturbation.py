"""Insertion and deletion against cases that can be worked out by hand."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from xkd.measures.perturbation import Protocol, area, curves, stage
from xkd.perturb import blur_kernel, blurred, mixed, pixel_ranks


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


FIRST = torch.zeros(3, dtype=torch.int64)


def constant(probability: float):
    return lambda images: images.new_full((len(images), 2), probability)


def linear(weights: Tensor):
    """A "probability" that is linear in the pixels, for class 0."""

    def predict(images: Tensor) -> Tensor:
        score = (images * weights).sum((1, 2, 3))
        return torch.stack([score, -score], 1)

    return predict


# The eight acceptance tests of the measures -------------------------------------------------------


@pytest.mark.parametrize("step", [1, 5, 36, 50])
def test_a_constant_probability_has_that_area_in_both_measures(images, maps, step):
    found = curves(constant(0.3), images, maps, FIRST, Protocol(step, blur=3, sigma=1))
    for scores in found:
        torch.testing.assert_close(area(scores), torch.full((3,), 0.3).double())


@pytest.mark.parametrize("step", [1, 4, 12])
def test_deletion_by_a_map_and_by_its_reverse_sum_to_both_ends_under_a_linear_model(
    images, maps, step
):
    weights = torch.randn(2, 6, 6, dtype=torch.float64)
    protocol = Protocol(step, blur=3, sigma=1)
    one, other = (
        curves(linear(weights), images, e, FIRST, protocol).deletion for e in (maps, -maps)
    )
    torch.testing.assert_close(area(one) + area(other), one[:, 0] + one[:, -1])


def test_curves_have_n_plus_one_scores_and_end_at_x_and_at_nothing_bit_for_bit(images, maps):
    seen = []

    def predict(shown: Tensor) -> Tensor:
        seen.append(shown.clone())
        return torch.ones(len(shown), 1)

    found = curves(predict, images[:1], maps[:1], FIRST[:1], Protocol(10, blur=3, sigma=1))
    assert found.insertion.shape == found.deletion.shape == (1, 5)  # 36 pixels: 10, 10, 10, 6
    inserted, deleted = seen
    assert torch.equal(inserted[0], blurred(images, 3, 1)[0])
    assert torch.equal(inserted[-1], images[0])
    assert torch.equal(deleted[0], images[0])
    assert torch.equal(deleted[-1], torch.zeros_like(images[0]))
    changed = [(a != b).any(0).sum() for a, b in pairwise(inserted)]
    assert list(map(int, changed)) == [10, 10, 10, 6]


def test_the_area_of_a_model_that_reads_one_pixel_follows_from_its_rank(images, maps):
    row, column = 2, 3
    assert (images[:, 0, row, column] != 0).all()

    def predict(shown: Tensor) -> Tensor:
        there = torch.isin(shown[:, 0, row, column], images[:, 0, row, column])
        return there.double()[:, None]

    protocol = Protocol(1, blur=3, sigma=1)
    found = area(curves(predict, images, maps, FIRST, protocol).insertion)
    ranks = pixel_ranks(maps)[:, row * 6 + column]
    torch.testing.assert_close(found, 1 - (ranks.double() + 0.5) / 36)
    deleted = area(curves(predict, images, maps, FIRST, protocol).deletion)
    torch.testing.assert_close(deleted, (ranks.double() + 0.5) / 36)


def test_batches_and_single_images_agree_and_nothing_is_changed_in_place(images, maps):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    ).double()

    @torch.no_grad()
    def predict(shown: Tensor) -> Tensor:
        return network(shown).softmax(1)

    before, maps_before = images.clone(), maps.clone()
    classes = torch.tensor([0, 3, 4])
    whole = curves(predict, images, maps, classes, Protocol(7, blur=3, sigma=1))
    assert torch.equal(images, before)
    assert torch.equal(maps, maps_before)
    for at_once in (1, 4):
        small = Protocol(7, blur=3, sigma=1, at_once=at_once)
        for index in range(3):
            one = slice(index, index + 1)
            alone = curves(predict, images[one], maps[one], classes[one], small)
            for scores, expected in zip(alone, whole, strict=True):
                torch.testing.assert_close(scores[0], expected[index], rtol=0, atol=1e-6)


def test_the_kernel_is_that_of_rise_and_not_a_gaussian():
    kernel = blur_kernel(11, 5)
    delta = np.zeros((11, 11))
    delta[5, 5] = 1
    np.testing.assert_allclose(kernel, gaussian_filter(delta, 5), atol=1e-15)
    assert kernel.sum().item() == pytest.approx(1)
    assert kernel[5, 5].item() == pytest.approx(0.008833, abs=5e-7)
    assert kernel[0, 0].item() == pytest.approx(0.007737, abs=5e-7)
    cut = blur_kernel(11, 5, truncated=True)
    assert cut.sum().item() == pytest.approx(1)
    assert cut[5, 5].item() == pytest.approx(0.011964, abs=5e-7)
    assert cut[0, 0].item() == pytest.approx(0.004401, abs=5e-7)


@pytest.mark.parametrize(("size", "sigma"), [(5, 2), (3, 0.4), (7, 10)])
def test_other_kernels_are_those_of_scipy_too(size, sigma):
    delta = np.zeros((size, size))
    delta[size // 2, size // 2] = 1
    np.testing.assert_allclose(blur_kernel(size, sigma), gaussian_filter(delta, sigma), atol=1e-15)


# By hand ------------------------------------------------------------------------------------------


def test_the_area_of_three_scores_is_that_of_two_trapezia():
    scores = torch.tensor([[0.0, 1.0, 0.5]])
    assert area(scores).item() == pytest.approx((0.5 + 0.75) / 2)


def test_the_mean_of_areas_is_the_area_of_the_mean_curve(images, maps):
    found = curves(linear(images[:1]), images, maps, FIRST, Protocol(5, blur=3, sigma=1)).insertion
    torch.testing.assert_close(area(found).mean(), area(found.mean(0)))


def test_a_map_of_the_only_informative_pixels_is_the_best_possible():
    images = torch.zeros(1, 1, 4, 4)
    images[0, 0, :2, :2] = 1.0
    predict = linear(torch.full((1, 4, 4), 0.25))  # 1 when all four are there
    best = images[:, 0]
    protocol = Protocol(4, blur=1, sigma=1)
    found = curves(predict, images, best, FIRST[:1], protocol)
    torch.testing.assert_close(found.deletion, torch.tensor([[1.0, 0, 0, 0, 0]]).double())
    worst = curves(predict, images, -best, FIRST[:1], protocol)
    torch.testing.assert_close(worst.deletion, torch.tensor([[1.0, 1, 1, 1, 0]]).double())


def test_pixels_are_ranked_from_the_largest_value_down():
    maps = torch.tensor([[[0.1, 0.4], [0.3, 0.2]]])
    assert pixel_ranks(maps).tolist() == [[3, 0, 1, 2]]


def test_ties_are_broken_by_the_seed_alone_and_alike_for_every_map():
    maps = torch.zeros(2, 5, 5)
    first = pixel_ranks(maps)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first, pixel_ranks(maps + 7.0))
    assert torch.equal(first[:1], pixel_ranks(maps[:1]))
    assert not torch.equal(first, pixel_ranks(maps, seed=1))
    assert first[0].sort().values.tolist() == list(range(25))
    assert first[0].tolist() != list(range(25))
    maps[:, 2, 2] = 1
    ranks = pixel_ranks(maps)[0]
    assert ranks[12] == 0
    rest = torch.cat([first[0, :12], first[0, 13:]]), torch.cat([ranks[:12], ranks[13:]])
    assert rest[0].argsort().tolist() == rest[1].argsort().tolist()


def test_blurring_fades_to_the_mean_colour_at_the_borders_and_keeps_a_plain_inside():
    image = torch.ones(1, 3, 31, 31)
    found = blurred(image)
    torch.testing.assert_close(found[:, :, 5:26, 5:26], torch.ones(1, 3, 21, 21))
    assert found[0, 0, 0, 0] < 0.35
    assert torch.equal(found[:, 0], found[:, 1])


def test_channels_are_blurred_each_for_itself():
    image = torch.randn(2, 3, 8, 8)
    alone = torch.cat([blurred(image[:, c : c + 1], 5, 2) for c in range(3)], 1)
    torch.testing.assert_close(blurred(image, 5, 2), alone)


def test_stages_take_the_first_ranked_pixels_of_all_channels():
    start, finish = torch.zeros(2, 3, 2, 2), torch.ones(2, 3, 2, 2)
    ranks = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    shown = stage(start, finish, ranks, torch.tensor([1, 2]))
    assert shown[:, 0].flatten(1).tolist() == [[1, 0, 0, 0], [0, 0, 1, 1]]
    assert torch.equal(shown[:, 0], shown[:, 2])


def test_a_mask_mixes_an_image_with_another():
    images, others = torch.full((1, 2, 1, 2), 4.0), torch.full((1, 2, 1, 2), 8.0)
    assert mixed(images, others, torch.tensor([[[1.0, 0.25]]])).flatten().tolist() == [4, 7, 4, 7]


def test_maps_that_do_not_fit_or_are_not_finite_are_refused(images, maps):
    with pytest.raises(ValueError, match="expected maps"):
        curves(constant(0.5), images, maps[:, :5], FIRST, Protocol(1))
    maps[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        curves(constant(0.5), images, maps, FIRST, Protocol(1))
    with pytest.raises(ValueError, match="expected at least 1"):
        Protocol(0)
    with pytest.raises(ValueError, match="expected an odd size"):
        blur_kernel(10)
