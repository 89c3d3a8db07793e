"""Explanations of one class per image: a contract for all, and captum or plain code as oracles."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import (
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    Lime,
    Saliency,
)
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from xkd import explain
from xkd.errors import Refused
from xkd.explain import lime, rise
from xkd.explain._subject import Subject
from xkd.networks import Network, attentive, resnet
from xkd.perturb import enlarged_grids

CLASSES = 5
OPTIONS = {
    "rise": {"samples": 40},
    "lime": {"samples": 60, "cells": 4},
    "integrated_gradients": {"steps": 8},
}
EVERY = pytest.mark.parametrize("name", explain.of_one_class())


class Logits(nn.Module):
    """What captum expects: a module that returns logits alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


class Constant(Network):
    """Every class with the probability of `odds`, whatever the image."""

    def __init__(self, odds: Tensor) -> None:
        super().__init__()
        self.odds = odds

    def forward(self, images: Tensor):
        class Answer:
            logits = self.odds.log().expand(len(images), -1)

        return Answer


@pytest.fixture
def target() -> Network:
    torch.manual_seed(0)
    return seasoned(resnet.build(3, 16, CLASSES, depth=8, widths=(4, 6, 8)))


@pytest.fixture
def subject(target) -> Subject:
    torch.manual_seed(1)
    student = seasoned(attentive.build(3, 16, CLASSES, depth=8, widths=(4, 6, 8)))
    with torch.no_grad():  # evidence for every class, so that no map is zero everywhere
        for linear in (student.body.fc, *(head.output for head in student.heads)):
            linear.weight.abs_()
            linear.bias.abs_()
    objects = torch.zeros(4, 16, 16, dtype=torch.bool)
    objects[:, 4:12, 4:12] = True
    return Subject(target, student, objects, seed=3, at_once=7)


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=generator)


LABELS = torch.tensor([0, 4, 2, 2])


def seasoned(network: Network) -> Network:
    network.double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def maps_of(subject: Subject, images: Tensor, name: str, labels: Tensor = LABELS) -> Tensor:
    return explain.of_class(subject, images, labels, name, **OPTIONS.get(name, {}))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=1e-10)


# Every explanation of one class -------------------------------------------------------------------


@EVERY
def test_every_map_has_the_size_of_its_image_and_finite_values(name, subject, images):
    maps = maps_of(subject, images, name)
    assert maps.shape == (4, 16, 16)
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert (maps.flatten(1).std(1) > 0).all()


@EVERY
def test_every_map_depends_on_its_own_image_alone(name, subject, images):
    together = maps_of(subject, images, name)
    objects = Subject(
        subject.network, subject.surrogate, subject.objects[2:3], subject.seed, at_once=3
    )
    alone = maps_of(objects, images[2:3], name, LABELS[2:3])
    torch.testing.assert_close(alone, together[2:3], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(maps_of(subject, images, name), together, rtol=0, atol=0)


@EVERY
def test_explaining_leaves_networks_and_images_as_they_were(name, subject, images):
    before = images.clone()
    states = [copy.deepcopy(n.state_dict()) for n in (subject.network, subject.surrogate)]
    random = torch.get_rng_state()
    maps_of(subject, images, name)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), random)
    for network, state in zip((subject.network, subject.surrogate), states, strict=True):
        assert not network.training
        assert all(weight.grad is None for weight in network.parameters())
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


@EVERY
def test_only_controls_ignore_the_class(name, subject, images):
    one = maps_of(subject, images, name)
    other = maps_of(subject, images, name, (LABELS + 1) % CLASSES)
    control = getattr(explain.load(name), "CONTROL", False)
    assert torch.equal(one, other) == control


@EVERY
def test_every_file_says_how_it_is_called_and_what_may_be_set(name):
    module = explain.load(name)
    assert module.LABEL
    for option, schema in getattr(module, "OPTIONS", {}).items():
        assert schema["description"], option
        assert module.of_class.__kwdefaults__[option] == schema["default"]


def test_surrogates_and_objects_are_asked_for_in_one_line(target, images):
    for name in ("explanation_net", "levels_mean", "levels_product", "last_level"):
        with pytest.raises(Refused, match=f"'{name}' reads the levels of an attentive student"):
            maps_of(Subject(target), images, name)
    with pytest.raises(Refused, match="'true_square' needs to know where the object is"):
        maps_of(Subject(target), images, "true_square")


def test_an_explanation_of_all_classes_only_is_refused_for_one(subject, images):
    with pytest.raises(Refused, match="'gradcam_signed' explains all classes at once"):
        maps_of(subject, images, "gradcam_signed")


# Against captum -----------------------------------------------------------------------------------


def test_gradient_is_the_largest_magnitude_over_channels_of_captums(subject, target, images):
    expected = Saliency(Logits(target)).attribute(images, target=LABELS).amax(1)
    close(maps_of(subject, images, "grad"), expected)


def test_gradient_times_input_is_captums_summed_over_channels(subject, target, images):
    expected = InputXGradient(Logits(target)).attribute(images, target=LABELS).sum(1).detach()
    close(maps_of(subject, images, "grad_input"), expected)


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_guided_backpropagation_is_captums(subject, target, images):
    found = maps_of(subject, images, "guided_bp")
    plain = copy.deepcopy(target)
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    expected = GuidedBackprop(Logits(plain)).attribute(images, target=LABELS).abs().amax(1)
    close(found, expected)


def test_gradcam_is_captums_enlarged(subject, target, images):
    captum = LayerGradCam(Logits(target), target.layer3[-1].relu2)
    small = captum.attribute(images, target=LABELS, relu_attributions=True)
    expected = nn.functional.interpolate(
        small, size=(16, 16), mode="bilinear", align_corners=False
    )[:, 0]
    close(maps_of(subject, images, "gradcam"), expected.detach())


def test_integrated_gradients_are_captums_by_the_midpoint_rule(subject, target, images):
    expected = IntegratedGradients(Logits(target)).attribute(
        images, target=LABELS, n_steps=8, method="riemann_middle"
    )
    close(maps_of(subject, images, "integrated_gradients"), expected.sum(1).detach())


def test_integrated_gradients_sum_to_the_difference_of_the_logit(subject, target, images):
    found = explain.of_class(subject, images, LABELS, "integrated_gradients", steps=400)
    with torch.no_grad():
        ends = [target(x).logits.gather(1, LABELS[:, None])[:, 0] for x in (images, 0 * images)]
    torch.testing.assert_close(found.sum((1, 2)), ends[0] - ends[1], rtol=0.02, atol=0.02)


# RISE ---------------------------------------------------------------------------------------------


def test_rises_masks_keep_every_pixel_with_the_given_probability():
    masks = rise.random_masks(4000, (24, 24), 7, 0.3, seed=0)
    assert masks.min() >= 0
    assert masks.max() <= 1
    error = masks.std(0) / 4000**0.5
    assert ((masks.mean(0) - 0.3).abs() < 4 * error).float().mean() == 1  # 576 pixels
    assert ((masks.mean(0) - 0.3).abs() < 3 * error).float().mean() > 0.98


def test_rise_of_a_constant_probability_is_that_probability_but_for_chance(images):
    odds = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    subject = Subject(Constant(odds), at_once=500)
    found = rise.of_class(subject, images[:1], torch.tensor([2]), samples=4000)
    masks = rise.random_masks(4000, (16, 16), 7, 0.5, subject.seed).double()
    torch.testing.assert_close(found[0], 0.6 * masks.mean(0) / 0.5)
    torch.testing.assert_close(found[0], torch.full((16, 16), 0.6).double(), rtol=0, atol=0.03)


def test_rise_is_the_weighted_mean_of_its_masks(subject, target, images):
    found = maps_of(subject, images, "rise")
    masks = rise.random_masks(40, (16, 16), 7, 0.5, subject.seed).double()
    with torch.no_grad():
        for image, label, one in zip(images, LABELS, found, strict=True):
            left = target(image * masks[:, None]).logits.softmax(1)[:, label]
            expected = (left[:, None, None] * masks).sum(0) / (40 * 0.5)
            torch.testing.assert_close(one, expected)


def test_a_grid_is_enlarged_to_one_cell_more_than_the_image_and_shifted():
    grids = torch.rand(2, 3, 3)
    offsets = torch.tensor([[0, 0], [2, 1]])
    found = enlarged_grids(grids, (8, 9), offsets)  # cells of 3 pixels, 12 in all
    large = nn.functional.interpolate(
        grids[:, None], size=(12, 12), mode="bilinear", align_corners=False
    )[:, 0]
    assert torch.equal(found[0], large[0, :8, :9])
    assert torch.equal(found[1], large[1, 2:10, 1:10])


# LIME ---------------------------------------------------------------------------------------------


def test_limes_regression_is_scikit_learns_ridge_with_limes_weights():
    shown = lime.random_rows(200, 9, seed=0)
    left = torch.rand(200, dtype=torch.float64)
    distance = 1 - np.sqrt(shown.double().mean(1).numpy())
    weights = np.sqrt(np.exp(-(distance**2) / 0.25**2))
    expected = Ridge(alpha=1.0).fit(shown.numpy(), left.numpy(), sample_weight=weights).coef_
    np.testing.assert_allclose(lime.weighted_ridge(shown, left).numpy(), expected, rtol=1e-8)


def test_lime_is_captums_with_the_same_samples(subject, target, images):
    image, label = images[:1], LABELS[:1]
    parts = lime.segments_of(image[0], "grid", 4)
    hidden = lime.mean_colours(image[0], parts, 16)[None]
    rows = iter(lime.random_rows(60, 16, subject.seed).double())

    class Model(nn.Module):
        def fit(self, data, **_):
            shown, left, weights = (torch.cat([b[i] for b in data]) for i in range(3))
            ridge = Ridge(alpha=1.0).fit(shown, left, sample_weight=weights)
            self.coefficients = torch.from_numpy(ridge.coef_)

        def representation(self):
            return self.coefficients

    def weight(original, perturbed, interpretable, **_):
        distance = 1 - interpretable.double().mean().sqrt()
        return torch.exp(-(distance**2) / 0.25**2).sqrt()

    def forward(x: Tensor) -> Tensor:
        return target(x).logits.softmax(1)

    oracle = Lime(forward, Model(), weight, lambda *_, **__: next(rows)[None])
    with torch.no_grad():
        expected = oracle.attribute(
            image, target=label, baselines=hidden, feature_mask=parts[None, None], n_samples=60
        )
    close(maps_of(subject, image, "lime", label), expected[:, 0].double(), tolerance=1e-4)


def test_a_grid_has_as_many_squares_as_said_and_colours_are_their_means():
    image = torch.arange(36.0).view(1, 6, 6)
    parts = lime.segments_of(image, "grid", 3)
    assert parts[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert parts.max() == 8
    colours = lime.mean_colours(image, parts, 9)
    assert colours[0, 0, 0] == (0 + 1 + 6 + 7) / 4


def test_segments_of_pictures_are_refused_for_small_images(subject, images):
    with pytest.raises(Refused, match="expected at least 100 pixels; take segments: grid"):
        explain.of_class(subject, images, LABELS, "lime", segments="quickshift")


# Controls -----------------------------------------------------------------------------------------


def test_random_maps_differ_between_images_and_seeds(subject, target, images):
    maps = maps_of(subject, images, "random")
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps, maps_of(Subject(target, seed=4), images, "random"))


def test_the_centre_counts_most(subject, images):
    maps = maps_of(subject, images, "centre")
    assert maps[0].flatten().topk(4).indices.sort().values.tolist() == [119, 120, 135, 136]
    torch.testing.assert_close(maps[0], maps[0].flip(0))


def test_sobel_finds_an_edge_and_nothing_on_a_plain():
    image = torch.zeros(1, 3, 6, 6)
    image[..., 3:] = 1
    found = explain.of_class(Subject(Constant(torch.ones(2) / 2)), image, LABELS[:1], "sobel")
    assert found[0, 2].tolist() == [0, 0, 0.5, 0.5, 0, 0]


def test_level_maps_of_a_class_without_evidence_are_zero(subject, images):
    with torch.no_grad():
        subject.surrogate.body.fc.weight[3] = -1.0
        subject.surrogate.body.fc.bias[3] = -1.0
    labels = torch.full((4,), 3)
    assert torch.equal(maps_of(subject, images, "last_level", labels), torch.zeros(4, 16, 16))


@pytest.mark.parametrize("kind", ["quickshift", "slic"])
def test_segments_of_pictures_follow_their_edges(kind):
    image = torch.zeros(3, 128, 128)
    image[:, :, 64:] = 1
    image += 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    parts = lime.segments_of(image, kind, 4)
    assert parts.shape == (128, 128)
    assert sorted(parts.unique()) == list(range(int(parts.max()) + 1))
    assert not set(parts[:, :56].flatten().tolist()) & set(parts[:, 72:].flatten().tolist())
