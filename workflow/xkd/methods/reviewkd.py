"""ReviewKD: every stage of the student reviews what deeper stages know (Chen et al. 2021).

    L = CE(p, y) + w(e) · Σ_i h(o_i, t_i),   w(e) = β · min((e − 1) / W, 1)      e from 1 (B3)

The student's F1, F2, F3 and F4 are fused from the deepest outwards (`Fusion`), and what comes out,
o_i, is compared with the teacher's stage before its last ReLU, or with F4 (B2), at
several scales (`hierarchical_distance`). W = 20; β is 0.6, 1 or 5 by the pair of networks (B5). The
teacher is in evaluation mode; the authors' script for CIFAR leaves it in training mode (B1).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.errors import Refused
from xkd.losses import cross_entropy, feature_loss, mean_pooled
from xkd.methods.base import BaseMethod, Batch, BuildContext, Stage, StepOutput
from xkd.networks import Network
from xkd.plan.settings import Recipe

WIDEST = 512  # channels of the fused maps
LEVELS = (4, 2, 1)  # sides of the pooled maps that are compared as well


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "warmup": {
            "description": "W, epochs over which the teacher's term reaches its full weight",
            "type": "integer",
            "minimum": 1,
            "below": "epochs",
            "default": 20,
        }
    }
    WEIGHTS: ClassVar = {"ce": 1.0, "review": 1.0}
    TEACHER: ClassVar = ("embedding", "preactivations")

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        here = [*context.student_features[1:], (context.student_embedding, 1, 1)]
        there = [*context.teacher_features[1:], (context.teacher_embedding, 1, 1)]
        if len(here) != len(there):
            raise Refused(
                f"reviewkd: the student has {len(here) - 1} stages and the teacher "
                f"{len(there) - 1}; expected as many: choose networks of one family"
            )
        self.fusion = Fusion(here, there)

    def stages(self, recipe: Recipe) -> list[Stage]:
        weights = partial(warmed_up, self.weights, self.options["warmup"])
        return [Stage("train", recipe.epochs, weights)]

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output, terms = self.student(batch.images), {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(output.logits, batch.labels)
        if self.wants("review"):
            student = [*output.features[1:], as_map(output.embedding)]
            teacher = [*batch.teacher.preactivations, as_map(batch.teacher.embedding)]
            pairs = zip(self.fusion(student), teacher, strict=True)
            terms["review"] = sum(hierarchical_distance(*pair) for pair in pairs)
        return StepOutput(output.logits, terms)


def warmed_up(weights: Mapping[str, float], warmup: int, epoch: int) -> dict[str, float]:
    """Weights of a 1-based epoch: no distillation in the first, then linearly more."""
    share = min((epoch - 1) / warmup, 1.0)
    return {term: factor if term == "ce" else share * factor for term, factor in weights.items()}


def as_map(embedding: Tensor) -> Tensor:
    """[B, D] as maps of one pixel, [B, D, 1, 1]."""
    return embedding[:, :, None, None]


class Fusion(nn.Module):
    """Maps shaped as the teacher's, each fused from one of the student's and all deeper ones.

    From the deepest to the shallowest map x, without activation after any batch norm:

        u = BN(conv1×1(x))
        u′ = α ⊙ u + β ⊙ r,   (α, β) = sigmoid(conv1×1([u; r]))
        o = BN(conv3×3(u′))

    with r the u′ of the deeper map, enlarged to the size of x; the deepest has none, and u′ = u. α
    and β weigh positions, all channels alike. u′ is brought to the teacher's size where that
    differs. Sizes change by nearest neighbour.
    """

    def __init__(
        self, student: Sequence[tuple[int, ...]], teacher: Sequence[tuple[int, ...]]
    ) -> None:
        """student, teacher: shapes (channels, h, w) from the shallowest to the deepest."""
        super().__init__()
        width = min(WIDEST, student[-1][0])
        self.sizes = [shape[1:] for shape in teacher]
        self.enter = nn.ModuleList(_convolution(shape[0], width, 1) for shape in student)
        self.leave = nn.ModuleList(_convolution(width, shape[0], 3) for shape in teacher)
        self.weigh = nn.ModuleList(nn.Conv2d(2 * width, 2, 1) for _ in student[:-1])

    def forward(self, student: Sequence[Tensor]) -> list[Tensor]:
        """o, one per map of the student, in the order of the maps."""
        fused, deeper = [], None
        for level in reversed(range(len(student))):
            own = self.enter[level](student[level])
            if own.shape[2:] == (1, 1):
                # Strides of a single position fit either memory layout, in which the gradient of
                # batch norm rounds differently; through a matrix there is only one.
                own = as_map(own.flatten(1))
            if deeper is not None:
                deeper = F.interpolate(deeper, own.shape[2:], mode="nearest")
                shares = self.weigh[level](torch.cat([own, deeper], dim=1)).sigmoid()
                own = own * shares[:, :1] + deeper * shares[:, 1:]
            if tuple(own.shape[2:]) != tuple(self.sizes[level]):
                own = F.interpolate(own, self.sizes[level], mode="nearest")
            fused.append(self.leave[level](own))
            deeper = own
        return fused[::-1]


def _convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Without bias, before batch norm; Kaiming uniform with a = 1."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))


def hierarchical_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of two maps and of their pooled versions (HCL).

        h = ( D(o, t) + Σ_l w_l · D(pool_l o, pool_l t) ) / ( 1 + Σ_l w_l ),   l ∈ {4, 2, 1}, l < h

    D is the mean of squares over all entries; the weights 1/2, 1/4, 1/8 belong to the levels in the
    order of use, so that a level that is left out costs none.

    Args:
        student, teacher: [B, channels, h, w]; the teacher receives no gradient.
    Returns: scalar.
    """
    distance, weight, total = feature_loss(student, teacher), 1.0, 1.0
    for level in LEVELS:
        if level < student.shape[2]:
            weight /= 2
            pooled = (mean_pooled(maps, level) for maps in (student, teacher))
            distance = distance + weight * feature_loss(*pooled)
            total += weight
    return distance / total
