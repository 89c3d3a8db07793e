"""Introspective learning: its stages, its loss, who receives gradient, and its two controls."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F

from xkd import explain
from xkd.errors import Refused
from xkd.methods.base import Batch, BuildContext
from xkd.methods.le import Method
from xkd.networks import Network, mlp, resnet
from xkd.plan.declarations import registered
from xkd.plan.settings import Recipe
from xkd.similarity import class_similarity, introspective_targets

CLASSES = 10
RECIPE = Recipe("short", epochs=10, batch=16, lr=0.1)


def method(student: Network, **changes: object) -> Method:
    defaults = {k: o["default"] for k, o in Method.OPTIONS.items() if "default" in o}
    options = {"warmup": 3, "weights": Method.WEIGHTS, **defaults, **changes}
    return Method(student, BuildContext(CLASSES, lambda: student), options)


@pytest.fixture
def student() -> Network:
    torch.manual_seed(0)
    return resnet.build(3, 16, CLASSES, depth=8)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(1)
    return Batch(torch.randn(16, 3, 16, 16), torch.randint(CLASSES, (16,)))


def others(labels: Tensor) -> Tensor:
    return torch.ones(len(labels), CLASSES, dtype=torch.bool).scatter(1, labels[:, None], False)


def test_warmup_comes_first_on_labels_alone_and_the_recipe_runs_through(student):
    warmup, introspection = method(student, warmup=3).stages(RECIPE)
    assert (warmup.epochs, introspection.epochs) == (3, 7)
    assert dict(warmup.weights_at(1)) == {"ce": 1.0}
    assert dict(introspection.weights_at(1)) == {"explanation": 1.0, "ce": 0.1}
    assert warmup.recipe is introspection.recipe is None


def test_without_warmup_there_is_one_stage(student):
    (stage,) = method(student, warmup=0).stages(RECIPE)
    assert (stage.name, stage.epochs) == ("introspection", 10)


def test_a_warmup_that_fills_the_training_is_refused(student):
    with pytest.raises(Refused, match="warmup takes 10 of the 10 epochs of recipe 'short'"):
        method(student, warmup=10).stages(RECIPE)


@pytest.mark.parametrize("explanation", registered("explain"))
def test_nothing_is_explained_during_warmup(student, batch, explanation, monkeypatch):
    monkeypatch.setattr(explain.load(explanation), "all_classes", None)  # calling it would fail
    trained = method(student, explanation=explanation)
    result = trained(batch, "warmup")
    expected = F.cross_entropy(result.logits, batch.labels)
    assert set(result.terms) == {"ce"}
    assert torch.equal(result.terms["ce"], expected)
    assert result.meters == {}
    with pytest.raises(TypeError):
        trained(batch, "introspection")


def test_the_uniform_control_explains_nothing_and_smooths_labels(student, batch, monkeypatch):
    monkeypatch.setattr(explain.load("gradcam"), "all_classes", None)
    result = method(student, spread="uniform")(batch, "introspection")
    smoothed = torch.full((16, CLASSES), 0.1 / 9).scatter(1, batch.labels[:, None], 0.9)
    expected = F.cross_entropy(result.logits, smoothed)
    torch.testing.assert_close(result.terms["explanation"], expected)
    assert result.meters == {}


@pytest.mark.parametrize("explanation", registered("explain"))
def test_the_loss_is_cross_entropy_with_the_targets_of_the_explanations(
    student, batch, explanation
):
    student.eval()  # so that the explanation computed here sees the same statistics
    result = method(student, explanation=explanation)(batch, "introspection")
    output = student(batch.images)
    maps = explain.explain(student, output, batch.images, explanation)
    targets = introspective_targets(class_similarity(maps, batch.labels), batch.labels, 0.9)
    torch.testing.assert_close(result.terms["explanation"], F.cross_entropy(output.logits, targets))
    torch.testing.assert_close(result.terms["ce"], F.cross_entropy(output.logits, batch.labels))
    zero = (maps == 0).all(dim=2)
    true = zero.gather(1, batch.labels[:, None]).float().mean()
    torch.testing.assert_close(result.meters["zero_map_true"], true)
    torch.testing.assert_close(
        result.meters["zero_map_other"], zero[others(batch.labels)].float().mean()
    )


@pytest.mark.parametrize("explanation", registered("explain"))
def test_targets_are_constants_so_the_gradient_is_p_minus_q(student, batch, explanation):
    trained = method(student, explanation=explanation)
    outputs = []
    student.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    result = trained(batch, "introspection")
    output = outputs[0]
    found = torch.autograd.grad(result.terms["explanation"], output.logits, retain_graph=True)[0]
    targets, _ = trained.targets(output, batch)
    assert not targets.requires_grad
    torch.testing.assert_close(found, (output.logits.softmax(1) - targets) / 16)
    # The last map shapes the targets of Grad-CAM, yet receives gradient through the logits only.
    by_map = torch.autograd.grad(
        result.terms["explanation"], output.features[-1], retain_graph=True
    )[0]
    through_logits = torch.autograd.grad(output.logits, output.features[-1], found)[0]
    torch.testing.assert_close(by_map, through_logits)


def test_all_parameters_of_the_student_learn(student, batch):
    result = method(student)(batch, "introspection")
    sum(result.terms.values()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in student.parameters())


@pytest.mark.parametrize("explanation", ["grad", "guided_bp", "gradcam"])
def test_a_step_moves_the_running_statistics_once(student, batch, explanation):
    method(student, explanation=explanation)(batch, "introspection")
    assert student.bn1.num_batches_tracked == 1
    assert all(module.training for module in student.modules())


def test_permuted_targets_keep_the_label_and_shuffle_the_other_shares(student, batch):
    student.eval()
    output = student(batch.images)
    ordered, _ = method(student).targets(output, batch)
    trained = method(student, spread="permuted")
    (first, meters), (second, _) = (trained.targets(output, batch) for _ in range(2))
    assert set(meters) == {"zero_map_true", "zero_map_other"}
    labels = batch.labels[:, None]
    assert torch.equal(first.gather(1, labels), ordered.gather(1, labels))
    assert torch.equal(first.sort(dim=1).values, ordered.sort(dim=1).values)
    assert not torch.equal(first, ordered)
    assert not torch.equal(first, second)


def test_permutations_repeat_with_the_global_seed(student, batch):
    student.eval()
    trained = method(student, spread="permuted")
    losses = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        losses.append(trained(batch, "introspection").terms["explanation"].item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("explanation", ["grad", "grad_input", "guided_bp"])
def test_the_perceptron_learns_from_input_space_explanations(explanation):
    torch.manual_seed(0)
    student = mlp.build(1, 8, CLASSES, hidden=[64, 64])
    batch = Batch(torch.randn(32, 1, 8, 8), torch.randint(CLASSES, (32,)))
    trained = method(student, explanation=explanation)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(30):
        result = trained(batch, "introspection")
        loss = result.terms["explanation"] + 0.1 * result.terms["ce"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_bfloat16_maps_move_the_targets_of_a_perceptron_but_little():
    torch.manual_seed(0)
    student = mlp.build(1, 8, CLASSES)
    batch = Batch(torch.randn(32, 1, 8, 8), torch.randint(CLASSES, (32,)))
    output = student(batch.images)
    exact, _ = method(student, explanation="grad").targets(output, batch)
    half, _ = method(student, explanation="grad", bfloat16_maps=True).targets(output, batch)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < 1e-4


def test_gradcam_on_a_perceptron_is_refused_before_training():
    student = mlp.build(1, 8, CLASSES, hidden=[8])
    with pytest.raises(Refused, match="'gradcam' has no closed form for MLP"):
        method(student)
    method(student, spread="uniform")  # explains nothing, so it may


@pytest.mark.parametrize("spread", ["similarity", "permuted", "uniform"])
@pytest.mark.parametrize("explanation", registered("explain"))
def test_a_step_never_reads_a_tensor_on_the_host(student, batch, explanation, spread):
    """What waits for a value breaks CUDA graphs; on fake tensors it fails at once."""
    trained = method(student, explanation=explanation, spread=spread)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        images, labels = mode.from_tensor(batch.images), mode.from_tensor(batch.labels)
        result = trained(Batch(images, labels), "introspection")
        sum(result.terms.values()).backward()
        with pytest.raises(DataDependentOutputException):
            result.terms["ce"].item()
