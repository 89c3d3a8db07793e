"""Losses against values worked out by hand, identities between them, and where gradient goes."""

from math import log, sqrt

import pytest
import torch
from torch.nn import functional as F

from xkd import losses

LN3 = log(3)
#: p = (1/4, 3/4) and q = (1/2, 1/2): KL(q ‖ p) = ½ ln(4/3)
STUDENT = torch.tensor([[0.0, LN3]], dtype=torch.float64)
TEACHER = torch.zeros(1, 2, dtype=torch.float64)


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def same(found: torch.Tensor, expected: object) -> None:
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------------------------- cross-entropy


def test_cross_entropy_of_two_classes_by_hand():
    same(losses.cross_entropy(STUDENT, torch.tensor([1])), log(4 / 3))
    same(losses.cross_entropy(STUDENT, torch.tensor([0])), log(4))
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    same(losses.cross_entropy(STUDENT, half), 0.5 * log(4) + 0.5 * log(4 / 3))


def test_labels_and_their_one_hot_targets_give_the_same_cross_entropy():
    a, labels = logits(5, 4), torch.tensor([0, 3, 1, 1, 2])
    one_hot = F.one_hot(labels, 4).double()
    same(losses.cross_entropy(a, labels), losses.cross_entropy(a, one_hot))
    same(losses.cross_entropy(a, labels), F.cross_entropy(a, labels))


def test_sample_weights_replace_the_average():
    a, labels = STUDENT.repeat(2, 1), torch.tensor([0, 1])
    weights = torch.tensor([0.75, 0.25], dtype=torch.float64)
    same(losses.cross_entropy(a, labels, weights), 0.75 * log(4) + 0.25 * log(4 / 3))
    uniform = torch.full((2,), 0.5, dtype=torch.float64)
    same(losses.cross_entropy(a, labels, uniform), losses.cross_entropy(a, labels))


def test_gradient_of_cross_entropy_is_prediction_minus_target():
    a = logits(3, 4).requires_grad_()
    targets = logits(3, 4, seed=1).softmax(dim=1)
    losses.cross_entropy(a, targets).backward()
    same(a.grad, (a.detach().softmax(dim=1) - targets) / 3)


def test_targets_and_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"targets are \[2\] for logits \[1, 2\]"):
        losses.cross_entropy(STUDENT, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"weights are \[2\]"):
        losses.cross_entropy(STUDENT, torch.tensor([1]), torch.ones(2))


# ----------------------------------------------------------------------- divergence of predictions


def test_divergence_of_two_classes_by_hand():
    same(losses.kl_divergence(STUDENT, TEACHER), 0.5 * log(4 / 3))


def test_the_teacher_is_the_reference_distribution():
    # KL(p ‖ q) = ¼ ln ½ + ¾ ln (3/2), the other direction
    same(losses.kl_divergence(TEACHER, STUDENT), 0.25 * log(0.5) + 0.75 * log(1.5))


def test_soft_target_loss_by_hand_at_temperature_two():
    same(losses.soft_target_loss(2 * STUDENT, TEACHER, 2.0), 4 * 0.5 * log(4 / 3))


def test_soft_target_loss_is_zero_when_student_equals_teacher_up_to_a_constant():
    a = logits(4, 5)
    same(losses.soft_target_loss(a + 7, a, 4.0), 0.0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_target_loss_is_torchs_divergence_of_softened_answers(temperature):
    a, z = logits(5, 7), logits(5, 7, seed=1)
    softened = [(x / temperature).log_softmax(dim=1) for x in (a, z)]
    found = losses.soft_target_loss(a, z, temperature)
    expected = F.kl_div(*softened, reduction="batchmean", log_target=True)
    same(found, temperature**2 * expected)


def test_divergence_is_summed_over_classes_and_averaged_over_the_batch():
    a, z = logits(6, 5), logits(6, 5, seed=1)
    each = [losses.soft_target_loss(a[i : i + 1], z[i : i + 1], 4.0) for i in range(6)]
    same(losses.soft_target_loss(a, z, 4.0), torch.stack(each).mean())
    q = (z / 4).softmax(1)
    same(each[0], 16 * (q * (q.log() - (a / 4).log_softmax(1)))[0].sum())


@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
def test_gradient_of_the_soft_target_loss_grows_only_linearly_with_temperature(temperature):
    a, z = logits(3, 4).requires_grad_(), logits(3, 4, seed=1)
    losses.soft_target_loss(a, z, temperature).backward()
    p, q = ((x / temperature).softmax(dim=1) for x in (a.detach(), z))
    same(a.grad, temperature * (p - q) / 3)


def test_gradients_agree_across_high_temperatures():
    def gradient(temperature: float) -> torch.Tensor:
        a = logits(3, 4).requires_grad_()
        losses.soft_target_loss(a, logits(3, 4, seed=1), temperature).backward()
        return a.grad

    # Hinton et al. 2015, §2.1: in the limit, differences of centred logits over C, mean over B.
    difference = logits(3, 4) - logits(3, 4, seed=1)
    limit = (difference - difference.mean(dim=1, keepdim=True)) / 4 / 3
    torch.testing.assert_close(gradient(1e5), limit, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(gradient(1e6), gradient(1e5), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="expected a positive number"):
        losses.soft_target_loss(STUDENT, TEACHER, temperature)


def test_teachers_with_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"student \[1, 2\] and teacher \[1, 3\] differ"):
        losses.soft_target_loss(STUDENT, torch.zeros(1, 3), 4.0)
    with pytest.raises(ValueError, match="differ"):
        losses.decoupled_losses(STUDENT, torch.zeros(1, 3), torch.tensor([0]), 4.0)


# ---------------------------------------------------------------------------------------- decoupled


def test_decoupled_losses_of_three_classes_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    q = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64)
    tckd, nckd = losses.decoupled_losses(p.log(), q.log(), torch.tensor([0]), 1.0)
    same(tckd, 0.25 * log(0.25 / 0.5) + 0.75 * log(0.75 / 0.5))
    same(nckd, 2 / 3 * log((2 / 3) / (1 / 2)) + 1 / 3 * log((1 / 3) / (1 / 2)))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_decoupled_parts_make_up_the_soft_target_loss(temperature):
    a, z, labels = logits(6, 5), logits(6, 5, seed=1), torch.tensor([0, 1, 2, 3, 4, 0])
    for i in range(6):
        one = slice(i, i + 1)
        tckd, nckd = losses.decoupled_losses(a[one], z[one], labels[one], temperature)
        true = (z[one] / temperature).softmax(dim=1)[0, labels[i]]
        same(tckd + (1 - true) * nckd, losses.soft_target_loss(a[one], z[one], temperature))


def test_the_nontarget_part_does_not_depend_on_the_target_logit():
    a, z, labels = logits(6, 5), logits(6, 5, seed=1), torch.tensor([0, 1, 2, 3, 4, 0])
    moved = a + 5 * F.one_hot(labels, 5)
    before, after = (losses.decoupled_losses(x, z, labels, 4.0) for x in (a, moved))
    same(after[1], before[1])
    assert (after[0] - before[0]).abs() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_decoupled_losses_stay_finite_for_huge_logits_in_half_precision(dtype):
    a = torch.tensor([[3e4, -3e4, 0.0], [-3e4, 3e4, 3e4]], dtype=dtype, requires_grad=True)
    z = torch.tensor([[-3e4, 3e4, 0.0], [3e4, -3e4, 0.0]], dtype=dtype)
    for label in range(3):
        a.grad = None
        parts = losses.decoupled_losses(a, z, torch.tensor([label, label]), 4.0)
        sum(parts).backward()
        assert all(part.isfinite() and part.dtype == torch.float32 for part in parts)
        assert a.grad.isfinite().all()


def test_decoupled_losses_in_half_precision_are_those_of_the_rounded_logits():
    a, z = logits(6, 5).half(), logits(6, 5, seed=1).half()
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    half = losses.decoupled_losses(a, z, labels, 4.0)
    exact = losses.decoupled_losses(a.double(), z.double(), labels, 4.0)
    for found, expected in zip(half, exact, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------- entropy, smoothing


def test_entropy_is_in_nats():
    same(losses.entropy(STUDENT), 0.25 * log(4) + 0.75 * log(4 / 3))
    same(losses.entropy(torch.zeros(3, 10, dtype=torch.float64)), log(10))


def test_entropy_is_highest_where_its_gradient_vanishes():
    a = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
    losses.entropy(a).backward()
    same(a.grad, torch.zeros(2, 5))


def test_entropy_of_a_certain_prediction_is_zero_with_a_finite_gradient():
    a = torch.tensor([[0.0, 2000.0]], requires_grad=True)
    found = losses.entropy(a)
    found.backward()
    assert found.item() == 0
    assert a.grad.isfinite().all()


def test_smoothed_targets_share_the_rest_among_the_other_classes():
    targets = losses.smoothed_targets(torch.tensor([2, 0]), torch.zeros(2, 4), 0.7)
    expected = torch.tensor([[0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1]])
    torch.testing.assert_close(targets, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_smoothed_targets_have_the_number_format_of_the_logits(given, expected):
    """Rounded to float32, one tenth of a twelfth would be wrong in its ninth digit."""
    targets = losses.smoothed_targets(torch.tensor([0]), torch.zeros(1, 13, dtype=given), 0.9)
    assert targets.dtype == expected
    assert targets[0, 1].item() == torch.tensor((1 - 0.9) / 12, dtype=expected).item()


@pytest.mark.parametrize(("confidence", "classes"), [(0.9, 10), (0.6, 3)])
def test_smoothed_targets_match_torch_under_its_own_convention(confidence, classes):
    a, labels = logits(6, classes).float(), torch.tensor([0, 1, 2, 2, 1, 0])
    ours = losses.cross_entropy(a, losses.smoothed_targets(labels, a, confidence))
    epsilon = (1 - confidence) * classes / (classes - 1)
    torch.testing.assert_close(ours, F.cross_entropy(a, labels, label_smoothing=epsilon))


@pytest.mark.parametrize(("classes", "confidence"), [(1, 0.9), (10, 0.0), (10, 1.5)])
def test_smoothing_out_of_range_is_refused(classes, confidence):
    with pytest.raises(ValueError, match="expected"):
        losses.smoothed_targets(torch.tensor([0]), torch.zeros(1, classes), confidence)


# ------------------------------------------------------------------------------------- permutations


def test_permuting_the_others_keeps_one_entry_and_the_set_of_the_rest():
    torch.manual_seed(0)
    values, kept = logits(50, 6), torch.randint(6, (50,))
    permuted = losses.permute_others(values, kept)
    rows = torch.arange(50)
    assert torch.equal(permuted[rows, kept], values[rows, kept])
    assert torch.equal(permuted.sort(dim=1).values, values.sort(dim=1).values)


def test_the_others_are_permuted_uniformly_and_anew_for_every_sample():
    torch.manual_seed(0)
    values = torch.tensor([1.0, 2.0, 9.0, 3.0]).repeat(6000, 1)
    permuted = losses.permute_others(values, torch.full((6000,), 2))
    assert (permuted[:, 2] == 9).all()
    orders, counts = permuted.unique(dim=0, return_counts=True)
    assert len(orders) == 6  # 3!
    assert (counts - 1000).abs().max() < 120  # four standard deviations


# ----------------------------------------------------------------------------------------- features


def test_attention_map_by_hand():
    # Channel means of the squares are 3 and 4, so the unit vector is (3/5, 4/5).
    features = torch.tensor([[[[sqrt(6), 2.0]], [[0.0, 2.0]]]], dtype=torch.float64)
    same(losses.attention_map(features), [[0.6, 0.8]])


def test_attention_loss_by_hand():
    student = torch.tensor([[[[sqrt(3), 2.0]]]], dtype=torch.float64)  # Q = (0.6, 0.8)
    teacher = torch.tensor([[[[2.0, sqrt(3)]]]], dtype=torch.float64)  # Q = (0.8, 0.6)
    same(losses.attention_loss(student, teacher), 0.04)


def test_attention_ignores_scale_channels_and_their_number():
    features = logits(2, 3, 4, 4)
    wider = torch.cat([features, -features], dim=1)
    same(losses.attention_loss(7 * features, wider), 0.0)


def test_dead_features_have_no_attention_and_a_finite_gradient():
    dead = torch.zeros(1, 2, 2, 2, requires_grad=True)
    losses.attention_loss(dead, torch.ones(1, 2, 2, 2)).backward()
    assert dead.grad.isfinite().all()


def test_attention_survives_activations_whose_squares_overflow_half_precision():
    huge = torch.full((1, 2, 2, 2), 1000.0, dtype=torch.float16)
    torch.testing.assert_close(losses.attention_map(huge), torch.full((1, 4), 0.5))


def test_attention_of_maps_of_different_size_is_refused():
    with pytest.raises(ValueError, match="differ"):
        losses.attention_loss(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2))


def test_fsp_matrix_by_hand():
    first = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    second = torch.tensor([[[[5.0, 6.0]]]])
    torch.testing.assert_close(losses.fsp_matrix(first, second), torch.tensor([[[8.5], [19.5]]]))


def test_fsp_matrix_max_pools_the_larger_map():
    first = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    second = torch.tensor([[[[5.0]], [[6.0]]]])
    torch.testing.assert_close(losses.fsp_matrix(first, second), torch.tensor([[[20.0, 24.0]]]))
    swapped = losses.fsp_matrix(second, first)
    torch.testing.assert_close(swapped, torch.tensor([[[20.0], [24.0]]]))


def test_fsp_matrix_keeps_its_precision_under_autocast():
    first, second = logits(1, 2, 4, 4).float(), logits(1, 3, 4, 4, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.fsp_matrix(first, second)
    assert torch.equal(found, losses.fsp_matrix(first, second))


def test_fsp_matrix_of_sizes_that_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"cannot pool \[5, 5\] to \[2, 2\]"):
        losses.fsp_matrix(torch.ones(1, 1, 5, 5), torch.ones(1, 1, 2, 2))


def test_feature_loss_averages_over_all_entries():
    student, teacher = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)
    student[1, 2, 1, 0] = 6.0
    torch.testing.assert_close(losses.feature_loss(student, teacher), torch.tensor(36 / 24))
    with pytest.raises(ValueError, match="differ"):
        losses.feature_loss(student, teacher[:, :1])  # would broadcast


# ----------------------------------------------------------------------------------------- gradient


@pytest.mark.parametrize(
    "loss",
    [
        losses.kl_divergence,
        lambda s, t: losses.soft_target_loss(s, t, 4.0),
        lambda s, t: sum(losses.decoupled_losses(s, t, torch.tensor([0, 1, 2]), 4.0)),
        lambda s, t: losses.feature_loss(s, t),
        lambda s, t: losses.attention_loss(s.view(3, 1, 2, 2), t.view(3, 1, 2, 2)),
    ],
    ids=["kl", "soft targets", "decoupled", "features", "attention"],
)
def test_no_teacher_receives_gradient(loss):
    student, teacher = logits(3, 4).requires_grad_(), logits(3, 4, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0
