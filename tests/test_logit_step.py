"""The control that improves a teacher's answers without looking at an image."""

import math

import pytest
import torch
from fake_methods import A, Z, fixed
from torch.nn import functional as F

from xkd.losses import soft_target_loss
from xkd.reinforce import correcting_steps, matching_step, step_logits


@pytest.fixture
def answers() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 3 * torch.randn(200, 7, dtype=torch.float64), torch.randint(7, (200,))


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def test_logits_move_down_the_gradient_of_their_own_loss(answers) -> None:
    logits, labels = answers
    leaf = logits.clone().requires_grad_()
    F.cross_entropy(leaf, labels, reduction="sum").backward()
    found = step_logits(logits, labels, 0.7)
    torch.testing.assert_close(found, logits - 0.7 * leaf.grad, rtol=0, atol=1e-14)
    assert not found.requires_grad


def test_two_classes_by_hand() -> None:
    """q = (1/4, 3/4), y = 0: both logits move by 3η/4, towards each other and past."""
    gap = math.log(3)
    logits = torch.tensor([[0.0, gap]], dtype=torch.float64)
    expected = torch.tensor([[0.75 * 2, gap - 0.75 * 2]], dtype=torch.float64)
    torch.testing.assert_close(step_logits(logits, torch.tensor([0]), 2.0), expected)
    steps = correcting_steps(logits, torch.tensor([0]))
    torch.testing.assert_close(steps, torch.tensor([gap / 1.5]).double())


def test_a_sample_is_right_exactly_beyond_its_correcting_step(answers) -> None:
    logits, labels = answers
    steps = correcting_steps(logits, labels)
    right = logits.argmax(1) == labels
    assert torch.equal(steps < 0, right)
    for step in (0.0, 0.3, 1.0, 2.5, 6.0):
        moved = step_logits(logits, labels, step).argmax(1) == labels
        assert torch.equal(moved, steps < step)


@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.835, 0.99, 1.0])
def test_the_matching_step_gives_the_wanted_accuracy(answers, wanted) -> None:
    logits, labels = answers
    step = matching_step(correcting_steps(logits, labels), wanted)
    assert accuracy(step_logits(logits, labels, step), labels) == round(200 * wanted) / 200


def test_an_accuracy_that_is_there_needs_no_step(answers) -> None:
    logits, labels = answers
    steps = correcting_steps(logits, labels)
    assert matching_step(steps, accuracy(logits, labels)) == 0.0
    assert matching_step(steps, 0.0) == 0.0


def test_the_student_of_oracle_learns_from_the_moved_logits() -> None:
    method, batch = fixed("oracle", A, Z, weights={"oracle": 1.0, "ce": 0.0}, logit_step=1.5)
    terms = method(batch, "train").terms
    moved = step_logits(Z, batch.labels, 1.5)
    assert terms["oracle"].item() == soft_target_loss(A, moved, 2.0).item()
    plain, batch = fixed("oracle", A, Z, weights={"oracle": 1.0, "ce": 0.0})
    assert plain(batch, "train").terms["oracle"].item() != terms["oracle"].item()
