"""Logit standardisation, DIST, CAT-KD and ReviewKD against their equations."""

from dataclasses import replace
from math import sqrt

import pytest
import torch
from fake_methods import (
    CE,
    CLASSES,
    A,
    Z,
    fixed,
    numbers,
    options_of,
    real,
    same,
    surround,
    tiny,
    total,
)
from torch import nn
from torch.nn import functional as F

from xkd import losses, methods
from xkd.errors import Refused
from xkd.explain import explain
from xkd.methods import dist, reviewkd

# --------------------------------------------------------------------------- logit standardisation


def test_standardised_logits_by_hand():
    """(1, 2, 3) has mean 2 and, with c − 1, deviation 1."""
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]], dtype=torch.float64)
    expected = [[-1.0, 0.0, 1.0], [-2 / sqrt(12), -2 / sqrt(12), 4 / sqrt(12)]]
    torch.testing.assert_close(
        losses.standardised(logits), torch.tensor(expected).double(), rtol=1e-6, atol=0
    )


def test_standardised_logits_forget_shift_and_scale_of_every_image():
    scale, shift = numbers(4, 1, seed=3).abs() + 0.5, numbers(4, 1, seed=4)
    one, other = losses.standardised(A), losses.standardised(scale * A + shift)
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_standardised_logits_are_bounded_by_the_number_of_classes():
    logits = torch.zeros(1, 100, dtype=torch.float64)
    logits[0, 3] = 1e6
    assert losses.standardised(logits).abs().max() <= 99 / sqrt(100) + 1e-9


def by_hand(logits):
    centred = logits - logits.mean(1, keepdim=True)
    deviation = (centred.square().sum(1, keepdim=True) / (CLASSES - 1)).sqrt()
    return centred / (1e-7 + deviation)


def test_kd_standardises_the_softened_logits_of_both_and_no_others():
    method, batch = fixed("kd", A, Z, standardise=True, temperature=2.0)
    p, q = (by_hand(x) / 2 for x in (A, Z))
    kl = (q.softmax(1) * (q.log_softmax(1) - p.log_softmax(1))).sum(1).mean()
    same(total(method, method(batch, "train")), 4 * kl + 0.1 * CE)


def test_dkd_standardises_both_of_its_parts():
    plain, batch = fixed("dkd", by_hand(A), by_hand(Z), temperature=2.0, warmup=1)
    expected = plain(batch, "train").terms
    method, batch = fixed("dkd", A, Z, standardise=True, temperature=2.0, warmup=1)
    found = method(batch, "train").terms
    for term in ("tckd", "nckd"):
        same(found[term], expected[term])
    same(found["ce"], CE)


def test_gradient_flows_through_mean_and_deviation_of_the_student_alone():
    """A standardised loss does not change along a shift or a stretch of an image's logits."""
    method, batch = fixed("kd", A, Z, standardise=True, weights={"kd": 9.0})
    teacher = batch.teacher.logits.requires_grad_()
    method(batch, "train").terms["kd"].backward()
    gradient = method.student.logits.grad
    assert gradient.abs().max() > 1e-3
    assert gradient.sum(1).abs().max() < 1e-12
    assert (gradient * A).sum(1).abs().max() < 1e-7
    assert teacher.grad is None


# -------------------------------------------------------------------------------------------- DIST


def test_uncorrelated_and_opposite_rows_by_hand():
    one = torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    other = torch.tensor([[3.0, 2.0, 1.0], [2.0, 0.0, 2.0]], dtype=torch.float64)
    same(dist.unrelated(one, other).round(decimals=6), 1 - (-1 + 1) / 2)


def test_dist_is_one_minus_the_correlation_of_rows_and_columns():
    method, batch = fixed("dist", A, Z)
    p, q = (A / 4).softmax(1), (Z / 4).softmax(1)

    def rho(u, v):
        u, v = u - u.mean(), v - v.mean()
        return (u @ v) / (u.norm() * v.norm() + 1e-8)

    inter = 16 * (1 - sum(rho(p[i], q[i]) for i in range(4)) / 4)
    intra = 16 * (1 - sum(rho(p[:, k], q[:, k]) for k in range(CLASSES)) / CLASSES)
    terms = method(batch, "train").terms
    same(terms["inter"], inter)
    same(terms["intra"], intra)
    same(total(method, method(batch, "train")), CE + 2 * inter + 2 * intra)


def test_dist_vanishes_between_equal_predictions():
    method, batch = fixed("dist", A, A)
    terms = method(batch, "train").terms
    assert all(0 <= terms[term] < 1e-4 for term in ("inter", "intra"))


def test_dist_forgets_positive_affine_maps_of_rows_or_columns():
    one, other = numbers(5, 7, seed=1).abs(), numbers(5, 7, seed=2).abs()
    changed = 3 * one + 2
    assert (dist.unrelated(changed, other) - dist.unrelated(one, other)).abs() < 1e-7
    assert (dist.unrelated(-one, other) - (2 - dist.unrelated(one, other))).abs() < 1e-7


def test_dist_compares_images_only_within_a_batch():
    """Alone, an image has the same `inter`, and nothing to correlate in `intra`."""
    method, batch = fixed("dist", A[:1], Z[:1])
    terms = method(batch, "train").terms
    whole, everything = fixed("dist", A, Z)
    assert terms["inter"] != whole(everything, "train").terms["inter"]
    same(terms["intra"], 16.0)
    assert methods.load("dist").WHOLE_BATCH


# ------------------------------------------------------------------------------------------ CAT-KD


def cat_maps(features, weight, pool):
    """Class activation maps first, averaged afterwards."""
    return F.adaptive_avg_pool2d(torch.einsum("kc,bchw->bkhw", weight, features), pool)


def test_cat_kd_averages_maps_before_or_after_the_classifier_alike():
    method, _ = real("cat_kd")
    features, weight = numbers(4, 5, 8, 8, seed=1), numbers(CLASSES, 5, seed=2)
    found = method.maps(features, weight)
    expected = cat_maps(features, weight, 2).flatten(2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_cat_kd_is_the_squared_distance_of_pooled_maps_of_all_classes():
    method, batch = real("cat_kd", weights={"ce": 1.0, "cat": 0.7})
    method = method.double()
    batch = batch._replace(images=batch.images.double())
    output = method.student(batch.images)
    student = cat_maps(output.features[-1], method.student.fc.weight, 2)
    teacher = cat_maps(batch.teacher.features[-1].double(), tiny(1, 14).double().fc.weight, 2)
    expected = (student - teacher).square().mean()
    torch.testing.assert_close(method(batch, "train").terms["cat"], expected)


def test_cat_kd_transfers_the_signed_maps_of_gradcam():
    """Grad-CAM divides by the 4 positions of the last map."""
    method, batch = real("cat_kd")
    student = method.student.eval()
    output = student(batch.images)
    cams = explain(student, output, batch.images, "gradcam_signed")
    found = method.maps(output.features[-1], student.fc.weight)
    torch.testing.assert_close(found, 4 * cams)


def test_cat_kd_trains_features_and_classifier_and_leaves_the_bias_out():
    method, batch = real("cat_kd", weights={"cat": 1.0})
    method(batch, "train").terms["cat"].backward()
    assert method.student.fc.weight.grad.abs().max() > 0
    assert method.student.conv1.weight.grad.abs().max() > 0
    assert method.student.fc.bias.grad is None


def test_cat_kd_vanishes_between_equal_networks():
    method, batch = real("cat_kd")
    student = method.student.eval()
    features = student(batch.images).features
    method.teacher_weight.copy_(student.fc.weight)
    answer = batch.teacher._replace(features=features)
    assert method(batch._replace(teacher=answer), "train").terms["cat"] == 0


def test_cat_kd_normalises_the_map_of_every_class():
    method, batch = real("cat_kd", normalise=True)
    output = method.student(batch.images)
    maps = method.maps(output.features[-1], method.student.fc.weight)
    torch.testing.assert_close(maps.norm(dim=2), torch.ones(4, CLASSES))


def test_cat_kd_refuses_to_normalise_a_single_position():
    with pytest.raises(Refused, match="found pool: 1, expected 2 or more"):
        real("cat_kd", normalise=True, pool=1)


def test_cat_kd_keeps_the_teachers_classifier_out_of_checkpoints():
    method, _ = real("cat_kd")
    assert "teacher_weight" not in method.state_dict()


# ---------------------------------------------------------------------------------------- ReviewKD


def distance(o, t):
    return (o - t).square().mean()


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        (8, {4: 1 / 2, 2: 1 / 4, 1: 1 / 8}),
        (4, {2: 1 / 2, 1: 1 / 4}),  # a level that is left out costs no weight
        (2, {1: 1 / 2}),
        (1, {}),
        (7, {4: 1 / 2, 2: 1 / 4, 1: 1 / 8}),  # fields overlap
    ],
)
def test_hierarchical_distance_weighs_the_levels_in_the_order_of_use(size, levels):
    o, t = numbers(2, 3, size, size, seed=1), numbers(2, 3, size, size, seed=2)
    expected = distance(o, t)
    for level, weight in levels.items():
        pooled = (F.adaptive_avg_pool2d(maps, level) for maps in (o, t))
        expected = expected + weight * distance(*pooled)
    same(reviewkd.hierarchical_distance(o, t), expected / (1 + sum(levels.values())))


def fusion(widths, teacher_widths):
    """Of CIFAR ResNets: 16 to 64 channels, or four times as many."""
    sizes = (32, 16, 8, 1)
    widths, teacher_widths = ((*w, w[-1]) for w in (widths, teacher_widths))
    return reviewkd.Fusion(
        [(c, s, s) for c, s in zip(widths, sizes, strict=True)],
        [(c, s, s) for c, s in zip(teacher_widths, sizes, strict=True)],
    )


def test_fusion_has_the_published_number_of_parameters():
    with torch.device("meta"):
        narrow, wide = (fusion(w, w) for w in ((16, 32, 64), (64, 128, 256)))
    count = [sum(p.numel() for p in module.parameters()) for module in (narrow, wide)]
    assert count == [114_278, 1_808_774]


def test_the_deepest_block_weighs_nothing_and_the_others_two_maps():
    module = fusion((16, 32, 64), (16, 32, 64))
    assert len(module.weigh) == 3
    assert all(convolution.out_channels == 2 for convolution in module.weigh)


def test_fusion_has_no_activation_after_its_batch_norms():
    module = fusion((16, 32, 64), (16, 32, 64))
    assert not any(isinstance(part, nn.ReLU) for part in module.modules())
    maps = [torch.randn(2, c, s, s) for c, s in ((16, 32), (32, 16), (64, 8), (64, 1))]
    assert all((fused < 0).any() for fused in module(maps))


def test_fused_maps_have_the_teachers_channels_for_unequal_widths():
    module = fusion((16, 32, 64), (64, 128, 256))
    maps = [torch.randn(2, c, s, s) for c, s in ((16, 32), (32, 16), (64, 8), (64, 1))]
    shapes = [tuple(fused.shape[1:]) for fused in module(maps)]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (256, 1, 1)]


def test_fusion_step_by_step():
    """An implementation of the equations that shares nothing but the weights."""
    torch.manual_seed(0)
    module = reviewkd.Fusion([(2, 4, 4), (3, 2, 2), (3, 1, 1)], [(5, 4, 4), (6, 4, 4), (7, 1, 1)])
    module = module.double()
    maps = [numbers(4, c, s, s, seed=s) for c, s in ((2, 4), (3, 2), (3, 1))]

    def norm(x):
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt()

    def enter(level):
        return norm(
            torch.einsum("oi,bihw->bohw", module.enter[level][0].weight[:, :, 0, 0], maps[level])
        )

    def leave(level, u):
        return norm(F.conv2d(u, module.leave[level][0].weight, padding=1))

    def weigh(level, u, r):
        gate = module.weigh[level]
        z = torch.einsum("oi,bihw->bohw", gate.weight[:, :, 0, 0], torch.cat([u, r], 1))
        z = 1 / (1 + (-(z + gate.bias[:, None, None])).exp())
        return u * z[:, 0][:, None] + r * z[:, 1][:, None]

    deepest = enter(2)
    middle = weigh(1, enter(1), deepest.expand(-1, -1, 2, 2))
    middle_grown = middle.repeat_interleave(2, 2).repeat_interleave(2, 3)  # the teacher's size
    shallow = weigh(0, enter(0), middle_grown)
    expected = [leave(0, shallow), leave(1, middle_grown), leave(2, deepest)]
    for found, wanted in zip(module(maps), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


def test_reviewkd_begins_without_its_teacher_and_warms_up_over_twenty_epochs():
    weights = {"ce": 1.0, "review": 0.6}
    shares = [reviewkd.warmed_up(weights, 20, epoch)["review"] for epoch in (1, 11, 21, 240)]
    assert shares == [0.0, 0.3, 0.6, 0.6]
    assert reviewkd.warmed_up(weights, 20, 1)["ce"] == 1.0


def test_reviewkd_compares_fused_maps_with_the_teachers_before_its_relu():
    method, batch = real("reviewkd", warmup=1)
    assert any((part < 0).any() for part in batch.teacher.preactivations)
    output = method.student(batch.images)
    fused = method.fusion([*output.features[1:], output.embedding[:, :, None, None]])
    targets = [*batch.teacher.preactivations, batch.teacher.embedding[:, :, None, None]]
    expected = sum(map(reviewkd.hierarchical_distance, fused, targets))
    torch.testing.assert_close(method(batch, "train").terms["review"], expected)


def test_reviewkd_refuses_networks_of_different_depth_in_stages():
    student, teacher = tiny(0), tiny(1)
    context = surround(student, teacher, numbers(4, 1, 8, 8, seed=9).float())
    context = replace(context, teacher_features=context.teacher_features[:-1])
    with pytest.raises(Refused, match="the student has 3 stages and the teacher 2"):
        methods.load("reviewkd")(student, context, options_of("reviewkd"))
