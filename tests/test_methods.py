"""Every method against its equation, by hand where it is small; then what all must keep."""

import ast
from collections.abc import Sequence
from math import log
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from xkd import losses, methods, provenance
from xkd.errors import Refused
from xkd.methods import dkd, dkpp, sad
from xkd.methods.base import BaseMethod, Batch, Outcome, Stage, Surroundings, TeacherAnswer
from xkd.networks import Network, Output, mlp, resnet
from xkd.settings import Recipe

CLASSES = 3
RECIPE = Recipe("r", epochs=8, batch=4, lr=0.1, weight_decay=1e-4, milestones=(4,))
LABELS = torch.tensor([0, 1, 2, 1])


class Fixed(Network):
    """Answers the same to any image; what it answers are its parameters."""

    def __init__(self, logits: Tensor, features: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.features = nn.ParameterList(feature.clone() for feature in features)

    def forward(self, images: Tensor) -> Output:
        features = tuple(self.features)
        return Output(self.logits, features, self.logits, blocks=features[1:])


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def same(found: Tensor, expected: object) -> None:
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def options_of(name: str, **chosen: Any) -> dict[str, Any]:
    """Defaults, and the smallest value allowed of an option without default."""
    method = methods.load(name)
    filled = {
        option: schema.get("default", schema.get("minimum"))
        for option, schema in method.OPTIONS.items()
    }
    return {**filled, "weights": dict(method.WEIGHTS), **chosen}


def surround(student: Network, teacher: Network, images: Tensor, **more: Any) -> Surroundings:
    def shapes(maps: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(m.shape[1:]) for m in maps)

    with torch.no_grad():
        s, t = (network.eval()(images) for network in (student, teacher))
    student.train()
    return Surroundings(
        classes=CLASSES,
        spawn=more.get("spawn", lambda: tiny(2)),
        student_features=shapes(s.features),
        student_blocks=shapes(s.blocks),
        teacher_features=shapes(t.features),
        teacher_blocks=shapes(t.blocks),
    )


def tiny(seed: int, depth: int = 8) -> Network:
    torch.manual_seed(seed)
    return resnet.build(1, 8, CLASSES, depth=depth, widths=(2, 3, 4))


def batch_of(teacher: Network, size: int = 4) -> Batch:
    """Images with the teacher's answer, which could take gradient but never should."""
    images = numbers(size, 1, 8, 8, seed=9).float()
    output = teacher.eval()(images)
    answer = TeacherAnswer(
        output.logits.detach().requires_grad_(),
        tuple(f.detach().requires_grad_() for f in output.features),
        tuple(b.detach().requires_grad_() for b in output.blocks),
    )
    return Batch(images, LABELS.repeat(size // 4), answer)


def real(name: str, **chosen: Any) -> tuple[BaseMethod, Batch]:
    """A method between two small residual networks, ResNet14 teaching ResNet8, and its batch."""
    student, teacher = tiny(0), tiny(1, depth=14)
    batch = batch_of(teacher)
    surroundings = surround(student, teacher, batch.images)
    torch.manual_seed(5)
    return methods.load(name)(student, surroundings, options_of(name, **chosen)), batch


def fixed(
    name: str,
    logits: Tensor,
    teacher: Tensor,
    features: Sequence[Tensor] = (),
    teacher_features: Sequence[Tensor] = (),
    **chosen: Any,
) -> tuple[BaseMethod, Batch]:
    """A method between two networks with given answers."""
    student, images = Fixed(logits, features), torch.zeros(len(logits), 1)
    surroundings = surround(student, Fixed(teacher, teacher_features), images)
    answer = TeacherAnswer(teacher, tuple(teacher_features), tuple(teacher_features[1:]))
    method = methods.load(name)(student, surroundings, options_of(name, **chosen)).double()
    return method, Batch(images, LABELS[: len(logits)], answer)


def total(method: BaseMethod, outcome: Outcome, stage: int = 0, epoch: int = 1) -> Tensor:
    """The sum that the training loop makes of the terms."""
    weights = method.stages(RECIPE)[stage].weights_at(epoch)
    return sum(factor * outcome.terms[term] for term, factor in weights.items())


A, Z = numbers(4, CLASSES, seed=0), numbers(4, CLASSES, seed=1)
KD = 16 * losses.kl_divergence(A / 4, Z / 4)
CE = F.cross_entropy(A, LABELS)


# ------------------------------------------------------------------------------- without a teacher


def test_ce_is_the_mean_negative_log_probability_of_the_labels():
    p = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], dtype=torch.float64)
    method, batch = fixed("ce", p.log(), p)
    same(total(method, method(batch, "train")), (log(2) + log(4)) / 2)


def test_dropout_is_ce_with_an_option_for_the_network():
    assert methods.load("dropout").network_options({"rate": 0.25}) == {"dropout": 0.25}
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
    surroundings = surround(student, Fixed(Z), torch.zeros(4, 1), spawn=lambda: Fixed(Z))
    method = methods.load("dml")(student, surroundings, options_of("dml"))
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
    outcome = method(batch, "train")
    assert torch.equal(outcome.logits, method.student.logits)
    assert outcome.meters["peer_top1"] == (Z.argmax(1) == LABELS).float().mean()


def test_dml_starts_from_two_initialisations_and_trains_both():
    method, _ = real("dml")
    assert not torch.equal(method.student.conv1.weight, method.peer.conv1.weight)
    assert len(list(method.trained("train"))) == 2 * len(list(method.student.parameters()))


# ---------------------------------------------------------------------------------------- features


def maps(seed: int, channels: Sequence[int] = (1, 1, 2, 2)) -> list[Tensor]:
    sizes = (4, 4, 2, 2)
    return [
        numbers(4, c, s, s, seed=seed + i).abs()
        for i, (c, s) in enumerate(zip(channels, sizes, strict=True))
    ]


def test_at_compares_the_attention_of_all_stages_but_not_of_the_stem():
    student, teacher = maps(10), maps(20, channels=(1, 3, 1, 2))
    method, batch = fixed("at", A, Z, student, teacher)
    outcome = method(batch, "train")

    def attention(features: Tensor) -> Tensor:
        energy = (features**2).mean(1).flatten(1)
        return energy / energy.norm(dim=1, keepdim=True)

    pairs = list(zip(student, teacher, strict=True))[1:]
    expected = sum(((attention(s) - attention(t)) ** 2).mean() for s, t in pairs)
    same(outcome.terms["at"], expected)
    same(total(method, outcome), KD + 0.1 * CE + 1000 * expected)


def test_at_of_the_oracle_paper_never_asks_for_the_teachers_logits():
    method, batch = fixed("at", A, Z, maps(10), maps(20), weights={"kd": 0, "ce": 1, "at": 1000})
    batch = batch._replace(teacher=batch.teacher._replace(logits=None))
    assert set(method(batch, "train").terms) == {"ce", "at"}


def test_fitnet_adds_a_hundred_times_the_mean_squared_distance_of_the_hint():
    method, batch = fixed("fitnet", A, Z, maps(10), maps(20, channels=(1, 1, 3, 2)))
    outcome = method(batch, "train")
    guided = method.regressor(method.student.features[2])
    expected = ((guided - batch.teacher.features[2]) ** 2).sum() / (4 * 3 * 2 * 2)
    same(total(method, outcome), CE + 100 * expected)


@pytest.mark.parametrize("name", ["fitnet", "hint"])
def test_the_regressor_is_a_pointwise_convolution_with_batch_norm_and_relu(name):
    method, _ = fixed(name, A, Z, maps(10), maps(20, channels=(1, 1, 3, 2)))
    convolution, norm, relu = method.regressor
    assert convolution.weight.shape == (3, 2, 1, 1)
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(relu, nn.ReLU)


def test_the_regressor_shrinks_a_larger_student_map_and_refuses_a_smaller_one():
    large, small = maps(10), [f[:, :, :1, :1] for f in maps(20)]
    method, _ = fixed("fitnet", A, Z, large, small)
    assert method.regressor[0].kernel_size == (2, 2)
    with pytest.raises(Refused, match="smaller than the teacher's"):
        fixed("fitnet", A, Z, small, large)


def test_fsp_pairs_consecutive_stages():
    student, teacher = maps(10, (1, 1, 2, 2)), maps(20, (5, 1, 2, 2))
    method, batch = fixed("fsp", A, Z, student, teacher)

    def flow(first: Tensor, second: Tensor) -> Tensor:
        if first.shape[2] > second.shape[2]:
            first = first.unflatten(3, (2, 2)).unflatten(2, (2, 2)).amax((3, 5))
        return torch.einsum("bchw,bdhw->bcd", first, second) / second[0, 0].numel()

    expected = sum(
        ((flow(*student[i : i + 2]) - flow(*teacher[i : i + 2])) ** 2).mean() for i in (1, 2)
    )
    outcome = method(batch, "fsp")
    same(total(method, outcome), expected)
    same(total(method, method(batch, "train"), stage=1), KD + 0.1 * CE)


@pytest.mark.parametrize("name", ["hint", "fsp"])
def test_the_first_stage_has_a_recipe_of_its_own_and_the_second_the_cells(name):
    method, _ = real(name, first_epochs=3, first_lr=0.05)
    first, second = method.stages(RECIPE)
    assert (first.name, first.epochs, first.weights) == (name, 3, {name: 1.0})
    assert first.recipe == Recipe(name, epochs=3, batch=4, lr=0.05, weight_decay=1e-4)
    assert second == Stage("train", 8, {"kd": 1.0, "ce": 0.1})


def test_hint_first_trains_the_regressor_and_the_student_up_to_its_second_stage():
    method, _ = real("hint")
    trained = {id(p) for p in method.trained("hint")}
    names = {
        name.split(".")[0] for name, p in method.student.named_parameters() if id(p) in trained
    }
    assert names == {"conv1", "bn1", "layer1", "layer2"}
    assert all(id(p) in trained for p in method.regressor.parameters())


def test_hint_discards_the_regressor_in_its_second_stage():
    method, batch = real("hint")
    assert list(method.trained("train")) == list(method.student.parameters())
    total(method, method(batch, "train"), stage=1).backward()
    assert all(p.grad is None for p in method.regressor.parameters())


def test_fsp_first_trains_all_of_the_student_but_its_classifier():
    method, _ = real("fsp")
    trained = {id(p) for p in method.trained("fsp")}
    resting = [name for name, p in method.named_parameters() if id(p) not in trained]
    assert resting == ["student.fc.weight", "student.fc.bias"]


@pytest.mark.parametrize("name", ["at", "fitnet", "fsp", "hint", "sad"])
def test_feature_methods_refuse_networks_without_residual_blocks(name):
    student = mlp.build(1, 8, CLASSES, hidden=[4, 4])
    images = torch.zeros(2, 1, 8, 8)
    surroundings = surround(student, tiny(1), images)
    with pytest.raises(Refused, match=f"method '{name}' compares feature maps.*found 0 residual"):
        methods.load(name)(student, surroundings, options_of(name))


# --------------------------------------------------------------------------------------------- SAD


def test_sad_attention_of_every_teacher_feature_sums_to_one_over_the_student():
    method, batch = real("sad", width=8)
    student = method.student(batch.images).blocks
    attention = method.attention(student, batch.teacher.blocks)
    assert attention.shape == (4, len(batch.teacher.blocks), len(student)) == (4, 6, 3)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(4, 6))
    assert (attention > 0).all()


def test_sad_attention_is_the_softmax_of_key_query_products_and_positions():
    method, batch = real("sad", width=8)
    student, teacher = method.student(batch.images).blocks, batch.teacher.blocks
    attention = method.attention.eval()
    shared = [
        attention.shared(k(h.mean((2, 3)))) for k, h in zip(attention.keys, student, strict=True)
    ]
    for t in range(6):
        query = attention.queries[t](teacher[t].mean((2, 3)))
        keys = [key[:, 8 * t : 8 * t + 8] for key in shared]
        scores = [
            (query * key).sum(1) + attention.teacher_positions[t] @ attention.student_positions[s]
            for s, key in enumerate(keys)
        ]
        expected = (torch.stack(scores, 1) / 8**0.5).softmax(1)
        torch.testing.assert_close(attention(student, teacher)[:, t], expected)


def test_sad_normalises_the_stacked_keys_of_all_student_features_together():
    method, batch = real("sad", width=8)
    seen = []
    method.attention.shared[1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method(batch, "train")
    assert seen[0].shape == (4 * 3, 8 * 6)


def test_sad_weighs_the_distances_by_attention():
    student, teacher = maps(10)[1:], maps(20)[1:]
    attention = numbers(4, 3, 3, seed=7).softmax(dim=2)

    def value(features: Tensor, size: int) -> Tensor:
        energy = F.adaptive_avg_pool2d((features**2).mean(1, keepdim=True), size).flatten(1)
        return energy / energy.norm(dim=1, keepdim=True)

    expected = 0.0
    for i in range(4):
        for t, teachers in enumerate(teacher):
            for s, students in enumerate(student):
                size = teachers.shape[2]
                difference = value(students, size)[i] - value(teachers, size)[i]
                expected += attention[i, t, s] * (difference**2).mean() / 4
    same(sad.attended_distance(student, teacher, attention), expected)


def test_sad_total_is_label_loss_and_nine_tenths_of_kd_and_the_attended_distance():
    method, batch = fixed("sad", A, Z, maps(10), maps(20), width=4)
    outcome = method(batch, "train")
    same(total(method, outcome), CE + 0.9 * KD + 200 * outcome.terms["afd"])


@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_resized_maps_are_those_of_adaptive_average_pooling(size):
    found = sad.resized(numbers(2, 3, 8, 8, seed=0), torch.Size((size, size)))
    same(found, F.adaptive_avg_pool2d(numbers(2, 3, 8, 8, seed=0), size))


def test_resizing_between_sizes_that_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="8 pixels to 3"):
        sad.resized(torch.ones(1, 1, 8, 8), torch.Size((3, 3)))


@pytest.mark.parametrize(
    ("depth", "features", "first"), [(20, 9, 0), (32, 15, 0), (56, 27, 0), (110, 27, 1)]
)
def test_sad_uses_all_blocks_but_of_resnet110_every_second(depth, features, first):
    blocks = tuple(range((depth - 2) // 2))
    chosen = sad.selected(blocks)
    assert (len(chosen), chosen[0], chosen[-1]) == (features, first, blocks[-1])


# ---------------------------------------------------------------------------------------- contract

EVERY = pytest.mark.parametrize("name", methods.known())


def stages_of(method: BaseMethod) -> list[Stage]:
    return method.stages(RECIPE)


@EVERY
def test_every_method_returns_the_terms_of_its_stage_as_finite_scalars(name):
    method, batch = real(name)
    for stage in stages_of(method):
        outcome = method(batch, stage.name)
        assert set(outcome.terms) == set(stage.weights_at(1))
        assert set(outcome.terms) <= set(method.WEIGHTS)
        for value in (*outcome.terms.values(), *outcome.meters.values()):
            assert value.shape == ()
            assert value.isfinite()
        assert outcome.logits.shape == (4, CLASSES)
        assert not any(meter.requires_grad for meter in outcome.meters.values())


@EVERY
def test_every_method_trains_what_it_says_and_never_its_teacher(name):
    method, batch = real(name)
    for index, stage in enumerate(stages_of(method)):
        method.zero_grad()
        total(method, method(batch, stage.name), stage=index).backward()
        trained = list(method.trained(stage.name))
        assert trained
        assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    for answer in (batch.teacher.logits, *batch.teacher.features, *batch.teacher.blocks):
        assert answer.grad is None


@EVERY
def test_every_method_asks_for_the_teacher_that_it_uses(name):
    method, batch = real(name)
    answer = {
        "nothing": None,
        "logits": TeacherAnswer(batch.teacher.logits),
        "features": batch.teacher,
    }[method.TEACHER]
    for stage in stages_of(method):
        method(batch._replace(teacher=answer), stage.name)


@EVERY
def test_no_method_reads_a_tensor_on_the_host(name):
    """A fake tensor has a shape but no values: to read one, or to let a shape hang on values, fails
    there as it would while a CUDA graph is captured."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        method, batch = real(name)
        for index, stage in enumerate(stages_of(method)):
            total(method, method(batch, stage.name), stage=index).backward()


@EVERY
def test_every_method_computes_its_terms_in_single_precision_under_autocast(name):
    method, batch = real(name)
    for stage in stages_of(method):
        with torch.autocast("cpu", torch.bfloat16):
            terms = method(batch, stage.name).terms.values()
        assert all(term.dtype == torch.float32 and term.isfinite() for term in terms)


@EVERY
def test_every_method_declares_itself_in_literals_that_the_config_can_read(name):
    method = methods.load(name)
    declared = provenance.literals(f"xkd.methods.{name}", "Method")
    assert declared.get("OPTIONS", {}) == method.OPTIONS
    assert declared.get("WEIGHTS", {}) == method.WEIGHTS
    assert declared.get("TEACHER", "nothing") == method.TEACHER
    assert method.TEACHER in ("nothing", "logits", "features")
    assert method.WEIGHTS
    assert ast.literal_eval(repr(method.OPTIONS)) == method.OPTIONS


@EVERY
def test_every_method_has_options_that_are_json_schema_and_fit_their_defaults(name):
    schema = {"type": "object", "properties": methods.load(name).OPTIONS}
    Draft202012Validator.check_schema(schema)
    defaults = options_of(name)
    del defaults["weights"]
    Draft202012Validator(schema).validate(defaults)


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(Refused, match="unknown method 'fitnets'; did you mean 'fitnet'"):
        methods.load("fitnets")
