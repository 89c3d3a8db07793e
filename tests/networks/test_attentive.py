"""The attentive student: sizes, levels, class maps, its explanation network."""

import pytest
import torch
from torch import nn

from xkd.errors import Refused
from xkd.networks import attentive, imagenet_resnet, resnet

CLASSES = 10


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.fixture
def student() -> attentive.AttentiveResNet:
    torch.manual_seed(0)
    return attentive.build(1, 24, CLASSES, depth=8, widths=(4, 6, 8)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 1, 24, 24, generator=torch.Generator().manual_seed(1))


def test_an_attentive_resnet8_at_32_pixels_has_the_measured_number_of_parameters():
    student = attentive.build(3, 32, 10, depth=8)
    assert parameters(student.explainer) == 8017
    assert parameters(student) - parameters(student.explainer) == 85575


def test_it_is_made_for_every_residual_trunk():
    with torch.device("meta"):
        for depth in (8, 14, 20, 26, 32, 56, 110):
            found = attentive.build(3, 32, 100, depth=depth)
            assert parameters(found.body) == parameters(resnet.build(3, 32, 100, depth=depth))
        for depth in (18, 34, 50, 101):
            found = attentive.build(3, 64, 200, depth=depth, trunk="imagenet_resnet")
            body = imagenet_resnet.build(3, 64, 200, depth=depth)
            assert parameters(found.body) == parameters(body)


def test_attention_is_wide_on_large_maps_and_narrow_on_small_ones():
    def kernels(network: attentive.AttentiveResNet) -> list[int]:
        return [attend.conv.kernel_size[0] for attend in network.attentions]

    with torch.device("meta"):
        assert kernels(attentive.build(3, 32, 10, depth=8)) == [7, 7, 3]
        large = attentive.build(
            3, 224, 10, depth=50, trunk="imagenet_resnet", stem="imagenet"
        )  # maps of 56, 28, 14 and 7
        assert kernels(large) == [7, 7, 7, 3]
    assert large.heads[0].norm.num_features == 64
    assert large.explainer.output.in_channels == 32


def test_levels_are_features_under_attention(student, images):
    levels = student.levels(images)
    assert [a.shape[-1] for a in levels.attentions] == [24, 12, 6]
    for plain, attention, features in zip(
        levels.plain, levels.attentions, levels.features, strict=True
    ):
        assert ((attention > 0) & (attention < 1)).all()
        assert torch.equal(features, attention * plain)
    assert torch.equal(levels.logits, student(images).logits)


def test_attention_is_the_convolution_of_mean_and_maximum(student):
    features = torch.rand(2, 5, 6, 6)
    attend = attentive.SpatialAttention(3)
    by_hand = attend.conv(torch.stack([features.mean(1), features.max(1).values], 1)).sigmoid()
    torch.testing.assert_close(attend(features), by_hand)


def test_the_mean_of_a_class_map_is_the_logit_of_its_level(student, images):
    levels = student.levels(images)
    logits = student.level_logits(levels)
    assert len(logits) == 3
    for chosen in (torch.tensor([0, 3, 9]), torch.tensor([5, 5, 1])):
        maps = student.class_maps(levels, chosen)
        for level, of_level in zip(maps, logits, strict=True):
            expected = of_level.gather(1, chosen[:, None])[:, 0]
            torch.testing.assert_close(level.mean((1, 2, 3)), expected)


def test_every_level_learns_and_the_explanation_network_leaves_the_classifier_alone(
    student, images
):
    levels = student.levels(images)
    for logits in student.level_logits(levels):
        student.zero_grad()
        logits.sum().backward(retain_graph=True)
        assert student.body.conv1.weight.grad.abs().sum() > 0
        assert all(weight.grad is None for weight in student.explainer.parameters())


def test_an_explanation_has_the_size_of_the_image_and_starts_near_a_quarter(student, images):
    raw = student.explain(student.levels(images), torch.tensor([1, 2, 3]), images.shape[2:])
    assert raw.shape == (3, 24, 24)
    assert 0.1 < raw.sigmoid().mean() < 0.45


def test_explanations_differ_by_class_and_do_not_depend_on_the_batch(student, images):
    levels = student.levels(images)
    one = student.explain(levels, torch.tensor([1, 1, 1]), images.shape[2:])
    other = student.explain(levels, torch.tensor([2, 2, 2]), images.shape[2:])
    assert not torch.allclose(one, other)
    alone = student.explain(student.levels(images[1:2]), torch.tensor([1]), images.shape[2:])
    torch.testing.assert_close(alone[0], one[1])


def test_the_scale_of_class_maps_does_not_change_the_explanation(student, images):
    levels, classes = student.levels(images), torch.tensor([1, 2, 3])
    maps = student.class_maps(levels, classes)
    raw = student.explainer(maps, levels.attentions, (24, 24))
    louder = student.explainer([100 * m for m in maps], levels.attentions, (24, 24))
    torch.testing.assert_close(raw, louder, rtol=1e-3, atol=1e-4)


def test_a_depth_that_the_trunk_does_not_have_is_refused():
    with pytest.raises(Refused, match="depth 18 is not of the form 6n"):
        attentive.build(3, 32, 10, depth=18)
    with pytest.raises(Refused, match="expected one of 18, 34"):
        attentive.build(3, 32, 10, depth=20, trunk="imagenet_resnet")
