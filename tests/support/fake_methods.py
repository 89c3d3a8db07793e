"""Methods on networks whose answers are known, or small enough for a test."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd import losses, methods
from xkd.methods.base import BaseMethod, Batch, BuildContext, StepOutput, TeacherAnswer
from xkd.networks import Network, Output, attentive, resnet
from xkd.plan.settings import Recipe

CLASSES = 3
RECIPE = Recipe("r", epochs=8, batch=4, lr=0.1, weight_decay=1e-4, milestones=(4,))
LABELS = torch.tensor([0, 1, 2, 1])
TRAIN_LABELS = LABELS.repeat(10)  # of the training images, of which batches are the first


class Fixed(Network):
    """Answers the same to any image; what it answers are its parameters."""

    def __init__(self, logits: Tensor, features: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.features = nn.ParameterList(feature.clone() for feature in features)
        self.classifier = nn.Linear(logits.shape[1], logits.shape[1]).requires_grad_(False)

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


def surround(student: Network, teacher: Network, images: Tensor, **more: Any) -> BuildContext:
    def shapes(maps: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(m.shape[1:]) for m in maps)

    seeds = count(2)
    with torch.no_grad():
        s, t = (network.eval()(images) for network in (student, teacher))
    student.train()
    return BuildContext(
        classes=CLASSES,
        spawn=more.get("spawn", lambda: tiny(next(seeds))),
        student_features=shapes(s.features),
        student_blocks=shapes(s.blocks),
        student_embedding=s.embedding.shape[1],
        teacher_features=shapes(t.features),
        teacher_blocks=shapes(t.blocks),
        teacher_embedding=t.embedding.shape[1],
        teacher_weight=teacher.classifier.weight.detach(),
        teacher_bias=teacher.classifier.bias.detach(),
        train_labels=TRAIN_LABELS,
    )


def tiny(seed: int, depth: int = 8) -> Network:
    torch.manual_seed(seed)
    return resnet.build(1, 8, CLASSES, depth=depth, widths=(2, 3, 4))


def tiny_student(name: str) -> Network:
    """A student of the family that the method trains."""
    if methods.load(name).FAMILY == "attentive":
        torch.manual_seed(0)
        return attentive.build(1, 8, CLASSES, depth=8, widths=(2, 3, 4))
    return tiny(0)


def batch_of(teacher: Network, size: int = 4) -> Batch:
    """Images with the teacher's answer, which could take gradient but never should."""
    images = numbers(size, 1, 8, 8, seed=9).float()
    output = teacher.eval()(images, preactivations=True)

    def part(name: str) -> Tensor | tuple[Tensor, ...]:
        value = getattr(output, name) if name != "strong_logits" else 1 - output.logits
        if isinstance(value, Tensor):
            return value.detach().requires_grad_()
        return tuple(each.detach().requires_grad_() for each in value)

    @torch.no_grad()
    def ask(asked: Tensor) -> Output:
        return teacher(asked)

    parts = {name: part(name) for name in TeacherAnswer._fields if name != "ask"}
    answer = TeacherAnswer(**parts, ask=ask)
    index = torch.arange(size)
    strong = numbers(size, 1, 8, 8, seed=10).float()
    return Batch(images, TRAIN_LABELS[index], answer, index, strong)


def real(name: str, **chosen: Any) -> tuple[BaseMethod, Batch]:
    """A method between two small residual networks, ResNet14 teaching ResNet8, and its batch."""
    student, teacher = tiny_student(name), tiny(1, depth=14)
    batch = batch_of(teacher)
    context = surround(student, teacher, batch.images)
    torch.manual_seed(5)
    return methods.load(name)(student, context, options_of(name, **chosen)), batch


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
    context = surround(student, Fixed(teacher, teacher_features), images)
    features = tuple(teacher_features)
    answer = TeacherAnswer(teacher, teacher, features, features[1:], strong_logits=1 - teacher)
    method = methods.load(name)(student, context, options_of(name, **chosen)).double()
    index = torch.arange(len(logits))
    return method, Batch(images, LABELS[: len(logits)], answer, index, images)


def total(method: BaseMethod, result: StepOutput, stage: int = 0, epoch: int = 1) -> Tensor:
    """The sum that the training loop makes of the terms."""
    weights = method.stages(RECIPE)[stage].weights_at(epoch)
    return sum(factor * result.terms[term] for term, factor in weights.items())


A, Z = (
    numbers(4, CLASSES, seed=0),
    numbers(4, CLASSES, seed=1),
)  # a student's and a teacher's logits
KD = 16 * losses.kl_divergence(A / 4, Z / 4)
CE = F.cross_entropy(A, LABELS)
