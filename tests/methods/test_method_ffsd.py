"""FFSD against its equations: who learns from whom, by which optimiser, with which weights."""

from math import exp

import pytest
import torch
from fake_methods import CLASSES, RECIPE, numbers, real, same, total
from torch import nn
from torch.nn import functional as F

from xkd.methods import ffsd


@pytest.fixture
def ready():
    method, batch = real("ffsd")
    return method.double(), batch._replace(images=batch.images.double())


def parameters(module):
    return sum(weight.numel() for weight in module.parameters())


def test_the_modules_have_the_published_numbers_of_parameters():
    assert parameters(ffsd.Fusion(128, 64, 100)) == 16_228
    assert parameters(ffsd.separable(64, 128)) == 9_152
    assert parameters(ffsd.Expansion([16, 32, 64])) == 23_136
    modules = ffsd.Fusion(128, 64, 100), ffsd.separable(64, 128), ffsd.Expansion([16, 32, 64])
    convolutions = [m for top in modules for m in top.modules() if hasattr(m, "kernel_size")]
    assert all(convolution.bias is None for convolution in convolutions)


def test_expansions_double_the_maps_twice_and_are_named_as_what_they_imitate():
    first, second = ffsd.Expansion([16, 32, 64])(torch.randn(2, 64, 8, 8))
    assert first.shape == (2, 16, 32, 32)
    assert second.shape == (2, 32, 16, 16)


def test_feature_weights_ramp_up_over_five_epochs():
    weights = {"ce": 1.0, "kl": 1.0, "diversity": 1e-5, "fusion": 10.0, "expansion": 1000.0}
    expected = (0.041, 0.165, 0.449, 0.819, 1.0, 1.0)
    for epoch, share in enumerate(expected, start=1):
        found = ffsd.ramped(weights, epoch)
        assert found["fusion"] == pytest.approx(10 * share, abs=0.005)
        assert found["expansion"] == pytest.approx(100 * found["fusion"])
        assert (found["ce"], found["kl"]) == (1.0, 1.0)
    assert ffsd.ramped(weights, 3)["diversity"] == pytest.approx(1e-5 * exp(-0.8))


def q(maps):
    """mean over channels of squares, of unit length; [B, h·w]."""
    energy = (maps**2).mean(1).flatten(1)
    return energy / energy.norm(dim=1, keepdim=True)


def d(u, v):
    return ((u - v) ** 2).mean()


def kl(teacher, student):
    p, t = (student / 2).log_softmax(1), (teacher.detach() / 2).log_softmax(1)
    return 4 * (t.exp() * (t - p)).sum(1).mean()


def losses_apart(method, batch):
    """The six losses as in the equations, each its own."""
    leader, s0, s1 = (n(batch.images) for n in (method.student, *method.students))
    u1, ul = method.expansions
    maps = torch.cat([s0.features[3], s1.features[3]], 1).detach()
    phi = method.fusion.maps(maps)
    fused = method.fusion.classifier(phi.mean((2, 3)))
    phi = phi.detach()
    labels = batch.labels
    target, pushed = by_hand_diversified(s0.features[3].detach())
    for u in (u1, ul):
        u.eval()
    with torch.no_grad():
        u1_made, ul_made = u1(pushed), ul(phi)
    for u in (u1, ul):
        u.train()
    w = exp(-5 * 0.8**2)
    ce = F.cross_entropy
    loss = {"s0": ce(s0.logits, labels) + kl(s1.logits, s0.logits)}
    loss["s1"] = ce(s1.logits, labels) + kl(s0.logits, s1.logits)
    loss["s1"] = loss["s1"] + 1e-5 * w * (
        d(q(s1.features[3]), target)
        + d(q(s1.features[1]), q(u1_made[0]))
        + d(q(s1.features[2]), q(u1_made[1]))
    )
    loss["fusion"] = ce(fused, labels) + kl((s0.logits + s1.logits) / 2, fused)
    own = leader.features
    loss["leader"] = ce(leader.logits, labels) + kl(fused, leader.logits)
    loss["leader"] = loss["leader"] + 10 * w * (
        d(q(own[3]), q(phi))
        + d(q(method.transfer(own[3])), q(maps))
        + d(q(own[1]), q(ul_made[0]))
        + d(q(own[2]), q(ul_made[1]))
    )
    for name, u, output in (("u1", u1, s1), ("ul", ul, leader)):
        made = u(output.features[3].detach())
        loss[name] = 0.0
        for m, f in zip(made, output.features[1:3], strict=True):
            flat = [x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True) for x in (m, f.detach())]
            loss[name] = loss[name] + 1000 * w * (d(*flat) + d(q(m), q(f.detach())))
    return loss


def by_hand_diversified(maps):
    target, pushed = [], []
    for image in maps:
        m = (image**2).mean(0).flatten()
        n = m.norm()
        share = m / n
        theta = sorted(share.tolist())[max(1, len(share) // 3) - 1]
        delta = torch.stack([x if x < theta else n / 2 if x == theta else n - x for x in share])
        target.append(delta)
        pushed.append(image + ((delta - share) * n / len(image)).view(image.shape[1:]))
    return torch.stack(target), torch.stack(pushed)


def test_diversity_turns_the_upper_two_thirds_around():
    maps = numbers(3, 5, 3, 4, seed=1)
    found, expected = ffsd.diversified(maps), by_hand_diversified(maps)
    for one, other in zip(found, expected, strict=True):
        same(one, other)
    share = q(maps)
    lower = (found[0] == share).sum(dim=1)
    assert lower.tolist() == [3] * 3, "all below the fourth smallest of twelve"


def owners(method):
    return {
        "s0": method.students[0],
        "s1": method.students[1],
        "fusion": method.fusion,
        "leader": nn.ModuleList([method.student, method.transfer]),
        "u1": method.expansions[0],
        "ul": method.expansions[1],
    }


def test_one_backward_pass_over_the_sum_is_the_gradient_of_every_network_of_its_own_loss(ready):
    method, batch = ready
    state = {name: value.clone() for name, value in method.state_dict().items()}
    apart = losses_apart(method, batch)
    expected = {}
    for name, module in owners(method).items():
        expected[name] = torch.autograd.grad(
            apart[name], list(module.parameters()), retain_graph=True, allow_unused=True
        )
    method.load_state_dict(state)
    loss = total(method, method(batch, "train"), epoch=1)
    same(loss, sum(apart.values()))
    loss.backward()
    for name, module in owners(method).items():
        for weight, gradient in zip(module.parameters(), expected[name], strict=True):
            torch.testing.assert_close(weight.grad, gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_nobody_learns_from_the_loss_of_another(ready):
    method, batch = ready
    apart, modules = losses_apart(method, batch), owners(method)
    for name, loss in apart.items():
        for other, module in modules.items():
            gradients = torch.autograd.grad(
                loss, list(module.parameters()), retain_graph=True, allow_unused=True
            )
            reached = any(g is not None for g in gradients)
            assert reached == (name == other), (name, other)


def test_running_statistics_of_the_expansions_move_once_a_step(ready):
    method, batch = ready
    method(batch, "train")
    for expansion in method.expansions:
        counts = {int(m.num_batches_tracked) for m in expansion.modules() if hasattr(m, "momentum")}
        assert counts == {1}
        assert expansion.training


def test_the_fusion_and_the_expansions_have_optimisers_of_their_own(ready):
    method, _ = ready
    fusion, expansions = method.groups("train")
    assert list(fusion.parameters) == list(method.fusion.parameters())
    assert (fusion.optimiser, fusion.lr, fusion.weight_decay) == ("sgd", None, 1e-5)
    assert list(expansions.parameters) == list(method.expansions.parameters())
    assert (expansions.optimiser, expansions.lr, expansions.weight_decay) == ("adam", 1e-3, 1e-4)


def test_the_leader_is_a_plain_network_and_both_students_leave_their_files(ready):
    method, batch = ready
    assert set(method.others) == {"common0", "common1"}
    plain = method.students[0].state_dict().keys()
    assert method.student.state_dict().keys() == plain
    method.eval()
    assert torch.equal(method(batch, "train").logits, method.student(batch.images).logits)


def test_self_distillation_can_be_weighed_as_it_is_named(ready):
    """The variant of the sensitivity check (B17)."""
    weights = {**ffsd.Method.WEIGHTS, "student_self": 1000.0, "leader_self": 1000.0}
    method, batch = real("ffsd", weights=weights)
    stage = method.stages(RECIPE)[0]
    assert stage.weights_at(9)["student_self"] == stage.weights_at(9)["leader_self"] == 1000.0
    assert set(method(batch, "train").terms) == set(weights)


def test_the_meter_counts_the_mean_of_both_students(ready):
    method, batch = ready
    method.eval()
    mean = sum(n(batch.images).logits for n in method.students)
    right = (mean.argmax(1) == batch.labels).double().mean()
    assert method(batch, "train").meters["common_top1"] == right
    assert mean.shape == (4, CLASSES)
