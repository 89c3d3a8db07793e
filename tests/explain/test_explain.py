"""Explanations against captum and plain differentiation, in double precision."""

import copy

import pytest
import torch
from captum.attr import GuidedBackprop, InputXGradient, LayerGradCam, Saliency
from torch import Tensor, nn

from xkd.errors import Refused
from xkd.explain import explain, gradcam
from xkd.explain._gradients import GuidedReLU, evaluation_mode, mlp_gradients
from xkd.networks import Network, imagenet_resnet, mlp, plane_cnn, resnet
from xkd.plan.declarations import declaration, registered

CLASSES = 5
EXPLANATIONS = sorted(registered("explain"))


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
            "bottleneck": small_bottlenecks,
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


def small_bottlenecks() -> Network:
    stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    return resnet.ResNet(stem, None, imagenet_resnet.Bottleneck, (1, 2), (4, 8), CLASSES)


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
    network = seasoned(small_bottlenecks())
    captum = LayerGradCam(Logits(network), network.layer2[-1].conv3)
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
    close(gradcam.all_classes(small_resnet, output, images)[:, 2], expected)


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
    assert declaration("methods", "le")["OPTIONS"]["explanation"]["enum"] == EXPLANATIONS
