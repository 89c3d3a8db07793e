"""Explanations against captum and plain differentiation; cosines and targets against arithmetic."""

import copy

import pytest
import torch
from captum.attr import GuidedBackprop, InputXGradient, LayerGradCam, Saliency
from torch import Tensor, nn

from xkd.errors import Refused
from xkd.explain import EXPLANATIONS, explain
from xkd.explain.gradcam import gradcam
from xkd.explain.gradients import GuidedReLU, evaluation_mode, mlp_gradients
from xkd.explain.similarity import (
    class_similarity,
    introspective_targets,
    similarity_matrix,
    unit,
    zero_map_fractions,
)
from xkd.methods.le import Method
from xkd.networks import Network, imagenet_resnet, mlp, plane_cnn, resnet

CLASSES = 5


class Logits(nn.Module):
    """What captum wants: a module that returns logits alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


@pytest.fixture(params=["resnet8", "resnet14_a", "bottleneck", "cnn6", "mlp"])
def network(request: pytest.FixtureRequest) -> Network:
    """In double precision, with batch norms away from their initial statistics and weights."""
    torch.manual_seed(0)
    return seasoned(
        {
            "resnet8": lambda: resnet.build(3, 8, CLASSES, depth=8),
            "resnet14_a": lambda: resnet.build(3, 8, CLASSES, depth=14, shortcut="A"),
            "bottleneck": lambda: imagenet_resnet.build(3, 8, CLASSES, depth=50),
            "cnn6": lambda: plane_cnn.build(3, 8, CLASSES, convolutions=6),
            "mlp": lambda: mlp.build(3, 8, CLASSES, hidden=[32, 24]),
        }[request.param]()
    )


@pytest.fixture
def small_resnet() -> Network:
    torch.manual_seed(0)
    return seasoned(resnet.build(3, 16, CLASSES, depth=8))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def seasoned(network: Network) -> Network:
    network.double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def maps_of(network: Network, images: Tensor, explanation: str) -> Tensor:
    return explain(network, network(images), images, explanation)


def by_captum(attribute, images: Tensor, **options: object) -> Tensor:
    """One captum call per class, [B, C, P]."""
    images = images.detach().requires_grad_()
    maps = [attribute(images, target=k, **options).detach().flatten(1) for k in range(CLASSES)]
    return torch.stack(maps, dim=1)


def close(found: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


# Gradients of the input ---------------------------------------------------------------------------


def test_grad_equals_captum_saliency_with_signs(network, images):
    expected = by_captum(Saliency(Logits(network)).attribute, images, abs=False)
    close(maps_of(network, images, "grad"), expected)


def test_grad_equals_the_jacobian_of_every_sample_alone(network, images):
    expected = [
        torch.autograd.functional.jacobian(lambda x: network(x[None]).logits[0], image).flatten(1)
        for image in images
    ]
    close(maps_of(network, images, "grad"), torch.stack(expected))


def test_grad_input_equals_captum(network, images):
    expected = by_captum(InputXGradient(Logits(network)).attribute, images)
    close(maps_of(network, images, "grad_input"), expected)


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_guided_bp_equals_captum(network, images):
    found = maps_of(network, images, "guided_bp")
    close(found, by_captum(GuidedBackprop(Logits(network)).attribute, images))
    assert not torch.allclose(found, maps_of(network, images, "grad"))


def test_guided_bp_leaves_ordinary_relus_behind(network, images):
    before = maps_of(network, images, "grad")
    maps_of(network, images, "guided_bp")
    assert not any(isinstance(module, GuidedReLU) for module in network.modules())
    close(maps_of(network, images, "grad"), before)


def test_input_gradients_use_running_statistics_even_in_training(small_resnet):
    state = copy.deepcopy(small_resnet.state_dict())
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    expected = maps_of(small_resnet, images, "grad")
    output = small_resnet.train()(images)
    small_resnet.load_state_dict(state)  # as before the training pass moved its statistics
    close(explain(small_resnet, output, images, "grad"), expected)


def test_gradients_of_stacked_perceptrons_equal_those_of_each_alone():
    torch.manual_seed(0)
    weights = [torch.randn(3, *shape) for shape in [(6, 5), (7, 6), (4, 7)]]  # three seeds
    active = [torch.rand(3, 2, width) > 0.5 for width in (6, 7)]
    stacked = mlp_gradients(weights, active)
    assert stacked.shape == (3, 2, 4, 5)
    for seed in range(3):
        alone = mlp_gradients([w[seed] for w in weights], [m[seed] for m in active])
        torch.testing.assert_close(stacked[seed], alone)


# Grad-CAM -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("explanation", "rectify"), [("gradcam", True), ("gradcam_signed", False)])
def test_gradcam_equals_captum_at_the_last_block(small_resnet, explanation, rectify):
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    captum = LayerGradCam(Logits(small_resnet), small_resnet.layer3[-1].relu2)
    expected = by_captum(captum.attribute, images, relu_attributions=rectify)
    found = maps_of(small_resnet, images, explanation)
    assert found.shape == (4, CLASSES, 16)
    close(found, expected)
    assert (found < 0).any() == (not rectify)


def test_gradcam_at_the_last_convolution_equals_captum_in_evaluation_mode(small_resnet):
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    captum = LayerGradCam(Logits(small_resnet), small_resnet.layer3[-1].conv2)
    expected = by_captum(captum.attribute, images, relu_attributions=True)
    close(maps_of(small_resnet, images, "gradcam_last_conv"), expected)


def test_gradcam_at_the_last_convolution_of_a_bottleneck_equals_captum(images):
    torch.manual_seed(0)
    network = seasoned(imagenet_resnet.build(3, 8, CLASSES, depth=50, stem="cifar"))
    images = torch.nn.functional.interpolate(images, size=16)  # a last map of 2×2
    captum = LayerGradCam(Logits(network), network.layer4[-1].conv3)
    expected = by_captum(captum.attribute, images, relu_attributions=True)
    close(maps_of(network, images, "gradcam_last_conv"), expected)


def test_gradcam_at_the_last_convolution_holds_batch_statistics_constant_in_training(small_resnet):
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    # What the training pass computes, with its batch statistics written into an evaluated copy.
    frozen = copy.deepcopy(small_resnet)
    for module in frozen.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(freeze_batch_statistics)
    captum = LayerGradCam(Logits(frozen), frozen.layer3[-1].conv2)
    expected = by_captum(captum.attribute, images, relu_attributions=True)
    small_resnet.train()
    close(maps_of(small_resnet, images, "gradcam_last_conv"), expected)


def freeze_batch_statistics(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
    norm.running_mean = inputs[0].detach().mean((0, 2, 3))
    norm.running_var = inputs[0].detach().var((0, 2, 3), correction=0)


def test_gradcam_explains_the_training_pass_it_is_given(small_resnet):
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    output = small_resnet.train()(images)
    last = output.features[-1].detach().requires_grad_()
    logits = small_resnet.classifier(last.mean((2, 3)))
    (weights,) = torch.autograd.grad(logits[:, 2].sum(), last)
    expected = (weights.mean((2, 3), keepdim=True) * last).sum(1).relu().flatten(1).detach()
    close(gradcam(small_resnet, output)[:, 2], expected)


@pytest.mark.parametrize("explanation", ["gradcam", "gradcam_signed", "gradcam_last_conv"])
def test_gradcam_is_refused_where_the_head_is_not_pooled(explanation):
    network, images = mlp.build(1, 8, CLASSES, hidden=[4]), torch.randn(2, 1, 8, 8)
    with pytest.raises(Refused, match=f"'{explanation}' has no closed form for MLP"):
        maps_of(network, images, explanation)


# Every explanation --------------------------------------------------------------------------------


@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_explaining_leaves_the_network_as_it_was(small_resnet, explanation):
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    small_resnet.train()
    small_resnet.layer1.eval()  # a mixture of modes must come back as a mixture
    output = small_resnet(images)
    state = copy.deepcopy(small_resnet.state_dict())
    modes = [module.training for module in small_resnet.modules()]
    maps = explain(small_resnet, output, images, explanation)
    assert not maps.requires_grad
    assert modes == [module.training for module in small_resnet.modules()]
    assert all(p.grad is None and p.requires_grad for p in small_resnet.parameters())
    assert not images.requires_grad
    for name, value in small_resnet.state_dict().items():
        assert torch.equal(value, state[name]), name
    output.logits.sum().backward()  # the training graph is intact


@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_explanations_do_not_depend_on_the_rest_of_the_batch(small_resnet, explanation):
    images = torch.randn(6, 3, 16, 16, dtype=torch.float64)
    together = maps_of(small_resnet, images, explanation)
    close(maps_of(small_resnet, images[2:3], explanation), together[2:3])


@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_explanations_work_where_gradients_are_off(small_resnet, explanation):
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = maps_of(small_resnet, images, explanation)
    with torch.no_grad():
        assert torch.equal(maps_of(small_resnet, images, explanation), expected)


def test_an_error_inside_evaluation_mode_still_restores_the_modes(small_resnet):
    small_resnet.train()
    with pytest.raises(ZeroDivisionError), evaluation_mode(small_resnet):
        raise ZeroDivisionError
    assert all(module.training for module in small_resnet.modules())


def test_an_unknown_explanation_is_refused_with_the_nearest_name(small_resnet):
    with pytest.raises(Refused, match="unknown explanation 'gradcan'; did you mean 'gradcam'"):
        maps_of(small_resnet, torch.randn(1, 3, 16, 16).double(), "gradcan")


def test_introspective_learning_offers_exactly_the_known_explanations():
    assert set(Method.OPTIONS["explanation"]["enum"]) == set(EXPLANATIONS)


# Cosines ------------------------------------------------------------------------------------------


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


# Targets ------------------------------------------------------------------------------------------


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
    maps = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [-2.0, -4.0]]).expand(2, 3, 2)
    targets = introspective_targets(
        class_similarity(maps, torch.tensor([0, 0])), torch.tensor([0, 0]), 0.8
    )
    torch.testing.assert_close(targets, torch.tensor([[0.8, 0.1, 0.1]] * 2))
