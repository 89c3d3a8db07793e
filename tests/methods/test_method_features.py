"""Methods that compare features, against their equations: AT, FitNet, Hint, FSP, SAD."""

from collections.abc import Sequence

import pytest
import torch
from fake_methods import (
    CE,
    CLASSES,
    KD,
    RECIPE,
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
from torch import Tensor, nn
from torch.nn import functional as F

from xkd import methods
from xkd.errors import Refused
from xkd.methods import sad
from xkd.methods.base import Stage
from xkd.networks import mlp
from xkd.plan.settings import Recipe

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
    result = method(batch, "train")

    def attention(features: Tensor) -> Tensor:
        energy = (features**2).mean(1).flatten(1)
        return energy / energy.norm(dim=1, keepdim=True)

    pairs = list(zip(student, teacher, strict=True))[1:]
    expected = sum(((attention(s) - attention(t)) ** 2).mean() for s, t in pairs)
    same(result.terms["at"], expected)
    same(total(method, result), KD + 0.1 * CE + 1000 * expected)


def test_at_of_the_oracle_paper_never_asks_for_the_teachers_logits():
    method, batch = fixed("at", A, Z, maps(10), maps(20), weights={"kd": 0, "ce": 1, "at": 1000})
    batch = batch._replace(teacher=batch.teacher._replace(logits=None))
    assert set(method(batch, "train").terms) == {"ce", "at"}


def test_fitnet_adds_a_hundred_times_the_mean_squared_distance_of_the_hint():
    method, batch = fixed("fitnet", A, Z, maps(10), maps(20, channels=(1, 1, 3, 2)))
    result = method(batch, "train")
    guided = method.regressor(method.student.features[2])
    expected = ((guided - batch.teacher.features[2]) ** 2).sum() / (4 * 3 * 2 * 2)
    same(total(method, result), CE + 100 * expected)


def test_hint_starts_with_the_mean_squared_distance_of_the_second_stages_alone():
    student, teacher = maps(10), maps(20)
    method, batch = fixed("hint", A, Z, student, teacher)
    method.regressor = nn.Identity()
    expected = ((student[2] - teacher[2]) ** 2).sum() / student[2].numel()
    same(total(method, method(batch, "hint")), expected)
    same(total(method, method(batch, "train"), stage=1), KD + 0.1 * CE)


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
    result = method(batch, "fsp")
    same(total(method, result), expected)
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
    context = surround(student, tiny(1), images)
    with pytest.raises(Refused, match=f"method '{name}' compares feature maps.*found 0 residual"):
        methods.load(name)(student, context, options_of(name))


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
    result = method(batch, "train")
    same(total(method, result), CE + 0.9 * KD + 200 * result.terms["afd"])


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
