"""MLKD and what is left of it without strong views, against their equations."""

import pytest
import torch
from fake_methods import CE, CLASSES, LABELS, A, Z, fixed, numbers, real, same
from torch.nn import functional as F

from xkd import methods
from xkd.methods import mlkd_weak

TEMPERATURES = (4, 3, 5, 2, 6)


def kl(z, a, t, image=None):
    """T² · KL, mean over images, or of one."""
    p, q = (a / t).log_softmax(1), (z / t).log_softmax(1)
    each = t**2 * (q.exp() * (q - p)).sum(1)
    return each.mean() if image is None else each[image]


def gram(a, z, t, rows):
    """‖P Pᵀ − Q Qᵀ‖² / rows, in loops over entries."""
    p, q = (a / t).softmax(1), (z / t).softmax(1)
    p, q = (p, q) if rows == len(a) else (p.T, q.T)
    total = 0.0
    for i in range(len(p)):
        for j in range(len(p)):
            total += float(p[i] @ p[j] - q[i] @ q[j]) ** 2
    return total / rows


def shares(z):
    """Of images and classes at or below the median; four and three of them."""
    q = z.softmax(1)
    confidence, mass = sorted(q.max(1).values.tolist()), q.sum(0)
    r = sum(c <= (confidence[1] + confidence[2]) / 2 for c in confidence) / 4
    middle = sorted(mass.tolist())[1]
    return r, sum(m <= middle for m in mass.tolist()) / 3


def test_the_weak_view_is_compared_at_five_temperatures_and_at_two_once_more():
    method, batch = fixed("mlkd_weak", A, Z)
    terms = method(batch, "train").terms
    r, r_c = shares(Z)
    assert r == 0.5
    expected = r * sum(kl(Z, A, t) for t in TEMPERATURES) + kl(Z, A, 2) + kl(Z, A, 6)
    same(terms["kd"], expected)
    same(terms["ce"], CE)
    same(terms["batch"], r * sum(gram(A, Z, t, 4) for t in TEMPERATURES))
    same(terms["classes"], r_c * sum(gram(A, Z, t, CLASSES) for t in TEMPERATURES))


def test_the_strong_view_adds_labels_and_three_temperatures():
    strong, strong_teacher = numbers(4, CLASSES, seed=5), numbers(4, CLASSES, seed=6)
    method, batch = real("mlkd")
    method = method.double()
    answers = {0: A, 1: strong}
    calls = iter((0, 1))

    class Output:
        def __init__(self):
            self.logits = answers[next(calls)]

    method.student.forward = lambda images: Output()
    answer = batch.teacher._replace(logits=Z, strong_logits=strong_teacher)
    terms = method(batch._replace(labels=LABELS, teacher=answer), "train").terms
    weak, same_batch = fixed("mlkd_weak", A, Z)
    alone = weak(same_batch, "train").terms
    same(terms["kd"], alone["kd"] + sum(kl(strong_teacher, strong, t) for t in (4, 3, 5)))
    same(terms["ce"], CE + F.cross_entropy(strong, LABELS))
    for term in ("batch", "classes"):
        same(terms[term], alone[term])


def test_half_of_the_images_and_classes_lie_at_or_below_the_median():
    method, _ = fixed("mlkd_weak", A, Z)
    images, classes = method.masks(numbers(8, 6, seed=1))
    same(images, torch.full((8,), 0.5))
    same(classes, torch.full((6,), 0.5))
    odd, _ = method.masks(numbers(5, 6, seed=1))
    same(odd, torch.full((5,), 0.6, dtype=torch.float64))


def test_masked_leaves_confident_images_and_frequent_classes_out():
    method, batch = fixed("mlkd_weak", A, Z, masked=True)
    plain, _ = fixed("mlkd_weak", A, Z)
    q = Z.softmax(1)
    kept = (q.max(1).values <= q.max(1).values.sort().values[1:3].mean()).double()
    assert kept.sum() == 2
    each = [torch.stack([kl(Z, A, t, image) for image in range(4)]) for t in TEMPERATURES]
    masked = sum((kept * divergences).sum() / 4 for divergences in each)
    terms = method(batch, "train").terms
    same(terms["kd"], masked + kl(Z, A, 2) + kl(Z, A, 6))
    for term, value in plain(batch, "train").terms.items():
        assert (term == "ce") == bool(torch.isclose(terms[term], value))


def test_nothing_is_left_between_equal_predictions():
    method, batch = fixed("mlkd_weak", A, A)
    terms = method(batch, "train").terms
    for term in ("kd", "batch", "classes"):
        assert terms[term].abs() < 1e-14


def test_standardised_logits_go_into_the_divergences_alone():
    scaled = 3 * A + 1
    plain, batch = fixed("mlkd_weak", scaled, Z, standardise=True)
    other, _ = fixed("mlkd_weak", A, Z, standardise=True)
    one, two = plain(batch, "train").terms, other(batch, "train").terms
    torch.testing.assert_close(one["kd"], two["kd"], rtol=1e-6, atol=1e-7)
    assert not torch.isclose(one["batch"], two["batch"])


@pytest.mark.parametrize("name", ["mlkd", "mlkd_weak"])
def test_both_need_whole_batches_and_only_one_a_second_view(name):
    method = methods.load(name)
    assert method.WHOLE_BATCH
    assert method.STRONG_VIEW == ("strong_logits" in method.TEACHER) == (name == "mlkd")


def test_the_median_of_an_even_number_lies_between_the_middle_two():
    same(mlkd_weak.median(torch.tensor([4.0, 1.0, 2.0, 8.0]).double()), 3.0)
    same(mlkd_weak.median(torch.tensor([4.0, 1.0, 2.0]).double()), 2.0)
