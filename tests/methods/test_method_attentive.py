"""Attentive distillation: who learns what, by which terms, and when it has failed."""

import math

import pytest
import torch
from fake_methods import CLASSES, RECIPE, batch_of, options_of, real, surround, tiny, total
from torch.nn import functional as F

from xkd import methods
from xkd.errors import Refused
from xkd.losses import kl_divergence
from xkd.methods.attentive import half_erased, soft_order_masks
from xkd.perturb import blurred, random_masks, total_variation


def explaining(**chosen):
    method, batch = real("attentive", **chosen)
    return method, batch, method(batch, "explain")


def test_the_student_learns_the_targets_answers_at_every_level_and_no_label():
    method, batch = real("attentive")
    result = method(batch, "student")
    target = batch.teacher.ask(batch.images).logits
    levels = method.student.train().levels(batch.images)
    logits = method.student.level_logits(levels)
    weights = [0.3, 0.3, 1.0]
    kd = sum(
        w * 16 * kl_divergence(z / 4, target / 4) for w, z in zip(weights, logits, strict=True)
    )
    ce = sum(w * F.cross_entropy(z, target.argmax(1)) for w, z in zip(weights, logits, strict=True))
    torch.testing.assert_close(result.terms["kd"], kd)
    torch.testing.assert_close(result.terms["ce"], ce)
    changed = batch._replace(labels=(batch.labels + 1) % CLASSES)
    assert torch.equal(method(changed, "student").terms["ce"], result.terms["ce"])


def test_the_stages_are_the_student_and_then_the_explanation_network():
    method, _ = real("attentive", explain_epochs=3)
    student, explain = method.stages(RECIPE)
    assert (student.name, student.epochs, student.recipe) == ("student", 8, None)
    assert set(student.weights) == {"kd", "ce"}
    assert (explain.name, explain.epochs) == ("explain", 3)
    assert explain.weights == {
        "keep": 1.0, "drop": 0.5, "area": 0.6, "variation": 0.02, "saturation": 0.1
    }  # fmt: skip
    assert (explain.recipe.lr, explain.recipe.clip) == (0.05, 1.0)
    assert method.groups("explain") == ()


def test_perturbed_images_come_after_a_third_of_the_epochs():
    method, _ = real("attentive", perturbed=True)
    names = [(stage.name, stage.epochs) for stage in method.stages(RECIPE)]
    assert names == [("student", 2), ("perturbed", 6), ("explain", 10)]


def test_an_order_is_learnt_by_adam():
    method, _ = real("attentive", loss="rank")
    stage = method.stages(RECIPE)[-1]
    assert set(stage.weights) == {"insertion", "deletion", "variation"}
    assert stage.recipe.lr == 0.003
    (group,) = method.groups("explain")
    assert group.optimiser == "adam"
    assert len(group.parameters) == len(list(method.student.explainer.parameters()))


def test_each_stage_trains_its_own_part():
    method, _ = real("attentive")
    explainer = {id(p) for p in method.student.explainer.parameters()}
    assert {id(p) for p in method.trained("explain")} == explainer
    student = {id(p) for p in method.trained("student")}
    assert student.isdisjoint(explainer)
    assert student | explainer == {id(p) for p in method.parameters()}


def test_the_student_is_frozen_with_its_statistics_while_the_explanation_network_learns():
    method, batch = real("attentive")
    method.train()
    method(batch, "student")
    before = {name: value.clone() for name, value in method.student.state_dict().items()}
    method.train()
    method(batch, "explain")
    assert not method.student.training
    assert all(torch.equal(v, before[k]) for k, v in method.student.state_dict().items())


def test_the_terms_of_the_mask_loss_are_as_written():
    method, batch, result = explaining()
    student, images = method.student, batch.images
    classes = batch.teacher.ask(images).logits.argmax(1)
    raw = student.explain(student.levels(images), classes, (8, 8))
    kept, blur = raw.sigmoid(), blurred(images)

    def p(shown):
        return student(shown).logits.softmax(1)[torch.arange(4), classes]

    m = kept[:, None]
    expected = {
        "keep": -p(images * m + blur * (1 - m)).log().mean(),
        "drop": p(images * (1 - m) + blur * m).mean(),
        "area": kept.mean(),
        "variation": total_variation(kept),
        "saturation": torch.zeros(()),
    }
    assert set(result.terms) == set(expected)
    for term, value in expected.items():
        torch.testing.assert_close(result.terms[term], value, msg=term)
    torch.testing.assert_close(result.meters["intensity"], kept.mean())


def test_saturation_is_punished_beyond_four():
    method, batch = real("attentive")
    with torch.no_grad():
        method.student.explainer.output.weight.zero_()
        method.student.explainer.output.bias.fill_(-6.0)
    terms = method(batch, "explain").terms
    assert terms["saturation"].item() == pytest.approx(4.0)
    assert terms["area"].item() == pytest.approx(1 / (1 + math.exp(6)))


def test_total_variation_is_that_of_rows_plus_that_of_columns():
    assert total_variation(torch.tensor([[[0.0, 1.0], [2.0, 1.0]]])).item() == 1.0 + 1.0


def test_soft_masks_keep_the_largest_values_and_gradient_sees_no_shift():
    raw = torch.randn(2, 6, 6, dtype=torch.float64, requires_grad=True)
    masks = soft_order_masks(raw, torch.tensor([0.0, 0.5]))
    assert (masks[0] <= 0.5 + 1e-9).all()  # nothing lies above the largest
    assert (masks[1] >= 0.5).sum() == 19  # half of 36, and the limit itself
    order = raw[1].flatten().argsort()
    assert torch.equal(order, masks[1].flatten().argsort())
    (gradient,) = torch.autograd.grad((masks * torch.randn_like(masks)).sum(), raw)
    torch.testing.assert_close(gradient.sum((1, 2)), torch.zeros(2).double(), rtol=0, atol=1e-10)


def test_a_collapsed_explanation_network_has_failed_and_a_dark_order_has_not():
    method, _ = real("attentive")
    good = {"intensity": 0.3, "spread": 1.0, "agreement": 0.9, "shown": 0.9, "hidden": 0.1}
    good["epoch"] = method.stages(RECIPE)[0].epochs + 10
    assert method.failure("explain", good) is None
    assert "the mean of its maps is 0.004" in method.failure("explain", good | {"intensity": 0.004})
    assert "collapsed" in method.failure("explain", good | {"intensity": 0.95})
    turned = good | {"shown": 0.1, "hidden": 0.9}
    assert "show has the class with probability 0.1" in method.failure("explain", turned)
    assert method.failure("explain", turned | {"epoch": 9}) is None  # it may still come
    assert method.failure("student", {}) is None
    ranked, _ = real("attentive", loss="rank")
    assert ranked.failure("explain", good | {"intensity": 0.001}) is None
    assert "standard deviation" in ranked.failure("explain", good | {"spread": 1e-5})


def test_a_student_at_chance_explains_nothing():
    method, _ = real("attentive")
    record = {"agreement": 1 / CLASSES}
    assert method.failure("explain", record).startswith("the student is at chance: it agrees")


def test_half_of_a_batch_is_erased_in_part_by_blur_or_by_zero():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 16, 16)
    erased = half_erased(images)
    assert torch.equal(erased[4:], images[4:])
    assert all(not torch.equal(a, b) for a, b in zip(erased[:4], images[:4], strict=True))


def test_random_masks_keep_any_share_of_the_pixels_about_evenly():
    torch.manual_seed(0)
    masks = random_masks(2000, (16, 16), "cpu")
    assert masks.min() >= 0
    assert masks.max() <= 1
    shares = masks.mean((1, 2))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.min() < 0.1
    assert shares.max() > 0.9
    rough = masks.diff(dim=2).abs().mean((1, 2))
    assert rough.max() > 5 * rough.median()  # fine grain among blobs


def test_perturbed_images_are_shown_to_target_and_student_alike():
    method, batch = real("attentive", perturbed=True)
    asked = []

    def ask(images):
        asked.append(images)
        return batch.teacher.ask(images)

    torch.manual_seed(1)
    method(batch._replace(teacher=batch.teacher._replace(ask=ask)), "perturbed")
    assert not torch.equal(asked[0][:2], batch.images[:2])
    assert torch.equal(asked[0][2:], batch.images[2:])


def test_attention_can_follow_the_targets_in_a_white_box():
    weights = dict(methods.load("attentive").WEIGHTS) | {"attention": 1000.0}
    method, batch = real("attentive", weights=weights)
    terms = method(batch, "student").terms
    assert terms["attention"] > 0
    assert set(method.stages(RECIPE)[0].weights) == {"kd", "ce", "attention"}
    total(method, method(batch, "student")).backward()


def test_another_network_as_a_student_is_refused_in_one_line():
    plain, teacher = tiny(0), tiny(1)
    context = surround(plain, teacher, batch_of(teacher).images)
    with pytest.raises(Refused, match="trains attentive students, found a ResNet"):
        methods.load("attentive")(plain, context, options_of("attentive"))
