"""Every method against its equation, by hand where it is small: labels, logits, peers."""

from math import log

import pytest
import torch
from fake_methods import (
    CE,
    CLASSES,
    KD,
    LABELS,
    RECIPE,
    A,
    Fixed,
    Z,
    fixed,
    numbers,
    options_of,
    real,
    same,
    surround,
    total,
)
from torch.nn import functional as F

from xkd import losses, methods
from xkd.methods import dkd, dkpp
from xkd.methods.base import BaseMethod, Batch, Stage

# ------------------------------------------------------------------------------- without a teacher


def test_ce_is_the_mean_negative_log_probability_of_the_labels():
    p = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], dtype=torch.float64)
    method, batch = fixed("ce", p.log(), p)
    same(total(method, method(batch, "train")), (log(2) + log(4)) / 2)


def test_dropout_is_ce_with_an_option_for_the_network():
    assert methods.load("dropout").NETWORK == {"dropout": "rate"}
    method, batch = fixed("dropout", A, Z, rate=0.25)
    same(total(method, method(batch, "train")), CE)


def test_label_smoothing_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    method, batch = fixed("label_smoothing", p.log(), p, true_class=0.8)
    expected = 0.8 * log(2) + 0.2 * log(4)
    torch.testing.assert_close(total(method, method(batch, "train")).item(), expected)


def test_confidence_penalty_subtracts_the_entropy_in_nats():
    p = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    method, batch = fixed("confidence_penalty", p.log(), p)
    same(total(method, method(batch, "train")), log(2) - 0.5 * 1.5 * log(2))


def test_confidence_penalty_sends_gradient_through_the_entropy():
    method, batch = fixed("confidence_penalty", A, Z)
    method(batch, "train").terms["negative_entropy"].backward()
    p = A.softmax(1)
    entropies = -(p * p.log()).sum(1, keepdim=True)
    same(method.student.logits.grad, p * (p.log() + entropies) / 4)


# ------------------------------------------------------------------------------------ distillation


def test_kd_adds_a_tenth_of_the_label_loss_to_the_soft_target_loss():
    method, batch = fixed("kd", A, Z)
    same(total(method, method(batch, "train")), KD + 0.1 * CE)


@pytest.mark.parametrize("weights", [{"kd": 1.0}, {"kd": 1.0, "ce": 0}, {"ce": 0.0, "kd": 0.18}])
def test_a_term_of_weight_zero_is_not_computed(weights):
    method, batch = fixed("kd", A, Z, weights=weights)
    assert set(method(batch, "train").terms) == {"kd"}
    assert method.stages(RECIPE) == [Stage("train", 8, {"kd": weights["kd"]})]


def test_oracle_learns_from_the_answer_to_the_reinforced_image_at_temperature_two():
    method, batch = fixed("oracle", A, Z, weights={"oracle": 1.0, "ce": 0.8})
    same(total(method, method(batch, "train")), 4 * losses.kl_divergence(A / 2, Z / 2) + 0.8 * CE)


def test_dkpp_keeps_the_confidence_and_the_set_of_the_other_predictions():
    method, batch = fixed("dkpp", torch.zeros(4, CLASSES, dtype=torch.float64), Z)
    # A uniform student cannot tell the permutation: KL(q̃ ‖ u) = ln C − H(q).
    plain = losses.soft_target_loss(torch.zeros_like(Z), Z, 4.0)
    same(total(method, method(batch, "train")), plain)


def test_dkpp_shuffles_all_but_the_largest_prediction_anew_at_every_step():
    teacher = torch.tensor([[3.0, 1.0, -1.0]], dtype=torch.float64)
    method, batch = fixed("dkpp", torch.zeros(1, CLASSES, dtype=torch.float64), teacher)
    q = (teacher[0] / 4).softmax(0)
    seen = set()
    torch.manual_seed(0)
    for _ in range(20):
        method.zero_grad()
        total(method, method(batch, "train")).backward()
        target = 1 / 3 - method.student.logits.grad[0] / 4  # gradient is T (p − q̃)
        same(target[0], q[0])
        same(target.sort().values, q.sort().values)
        seen.add(bool(target[1] > target[2]))
    assert seen == {True, False}


def test_dkpp_keeps_the_largest_prediction_where_the_teacher_is_wrong(monkeypatch):
    kept = []
    monkeypatch.setattr(dkpp, "permute_others", lambda z, at: kept.append(at) or z)
    method, batch = fixed("dkpp", A, Z)
    method(batch, "train")
    assert torch.equal(kept[0], Z.argmax(1))
    assert not torch.equal(kept[0], LABELS)


def test_dkd_adds_the_decoupled_parts_with_their_factors():
    method, batch = fixed("dkd", A, Z, weights={"ce": 1.0, "tckd": 0.5, "nckd": 6.0})
    tckd, nckd = losses.decoupled_losses(A, Z, LABELS, 4.0)
    found = total(method, method(batch, "train"), epoch=20)
    same(found, CE + 0.5 * tckd + 6 * nckd)


def test_dkd_warms_the_teacher_terms_up_over_epochs_counted_from_one():
    method, _ = fixed("dkd", A, Z, warmup=4)
    (stage,) = method.stages(RECIPE)
    assert stage.weights_at(1) == {"ce": 1.0, "tckd": 0.25, "nckd": 0.5}
    assert stage.weights_at(4) == stage.weights_at(8) == {"ce": 1.0, "tckd": 1.0, "nckd": 2.0}
    assert dkd.warmed_up({"nckd": 2.0}, 1, 1) == {"nckd": 2.0}


# -------------------------------------------------------------------- weights of samples (LE, §3)


def test_cwtm_weighs_samples_by_the_teachers_largest_prediction():
    q = torch.tensor([[0.75, 0.125, 0.125], [0.25, 0.25, 0.5]], dtype=torch.float64)
    p = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], dtype=torch.float64)
    method, batch = fixed("cwtm", p.log(), q.log())
    same(method.sample_weights(q.log()), [0.6, 0.4])
    same(total(method, method(batch, "train")), 0.6 * log(2) + 0.4 * log(4))


@pytest.mark.parametrize("weighting", ["teacher", "permuted", "random"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_cwtm_weights_sum_to_one(weighting, dtype):
    method, _ = fixed("cwtm", A, Z, weighting=weighting)
    weights = method.sample_weights(numbers(128, CLASSES, seed=3).to(dtype))
    assert weights.shape == (128,)
    assert (weights > 0).all()
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)


def test_cwtm_permut_only_changes_which_sample_a_weight_belongs_to():
    torch.manual_seed(0)
    teacher = numbers(64, CLASSES, seed=3)
    own, _ = fixed("cwtm", A, Z)
    permuted, _ = fixed("cwtm", A, Z, weighting="permuted")
    first, second = permuted.sample_weights(teacher), permuted.sample_weights(teacher)
    for weights in (first, second):
        same(weights.sort().values, own.sample_weights(teacher).sort().values)
    assert not torch.equal(first, second)


def test_cwtm_random_draws_confidences_above_beta_whatever_the_teacher_says():
    method, _ = fixed("cwtm", A, Z, weighting="random", beta=0.5)
    torch.manual_seed(0)
    first = method.sample_weights(numbers(4000, CLASSES, seed=3))
    torch.manual_seed(0)
    assert torch.equal(first, method.sample_weights(numbers(4000, CLASSES, seed=4)))
    spread = first.max() / first.min()
    assert 1.95 < spread <= 2  # 1 / β
    assert first.mean() / first.min() == pytest.approx(1.5, abs=0.02)


# --------------------------------------------------------------------------------------------- DML


def peers() -> tuple[BaseMethod, Batch]:
    student = Fixed(A)
    context = surround(student, Fixed(Z), torch.zeros(4, 1), spawn=lambda: Fixed(Z))
    method = methods.load("dml")(student, context, options_of("dml"))
    return method, Batch(torch.zeros(4, 1), LABELS)


def test_dml_trains_each_network_by_its_own_loss_alone():
    method, batch = peers()
    total(method, method(batch, "train")).backward()
    one_hot = F.one_hot(LABELS, CLASSES)
    for own, other, network in ((A, Z, method.student), (Z, A, method.peer)):
        p, q = own.softmax(1), other.softmax(1)
        same(network.logits.grad, ((p - one_hot) + 0.1 * (p - q)) / 4)


def test_dml_answers_for_the_student_and_tells_how_the_peer_does():
    method, batch = peers()
    result = method(batch, "train")
    assert torch.equal(result.logits, method.student.logits)
    assert result.meters["peer_top1"] == (Z.argmax(1) == LABELS).float().mean()


def test_dml_starts_from_two_initialisations_and_trains_both():
    method, _ = real("dml")
    assert not torch.equal(method.student.conv1.weight, method.peer.conv1.weight)
    assert len(list(method.trained("train"))) == 2 * len(list(method.student.parameters()))
