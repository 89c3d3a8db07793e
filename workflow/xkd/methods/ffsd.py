"""FFSD: two students, what they fuse to, and a leader that learns from it (Li et al. 2022).

With T = 2, D the mean squared distance of all entries, Q the `losses.attention_map`, sg a constant,
and F1, F2, F3 of students s0, s1 and leader ℓ:

    s0      CE + KL_T( sg a_s1 ‖ a_s0 )
    s1      CE + KL_T( sg a_s0 ‖ a_s1 )
            + 1e-5·w · [ D(Q(F3^s1), δ) + Σ_{l=1,2} D(Q(F_l^s1), Q(sg U1_l(x̃))) ]
    fusion  CE + KL_T( sg (a_s0 + a_s1)/2 ‖ a_G )
    leader  CE + KL_T( sg a_G ‖ a_ℓ )
            + 10·w · [ D(Q(F3^ℓ), Q(sg Φ)) + D(Q(R(F3^ℓ)), Q(K))
                       + Σ_l D(Q(F_l^ℓ), Q(sg Uℓ_l(sg Φ))) ]
    U1, Uℓ  1000·w · Σ_l [ D(unit(U_l(sg F3)), unit(sg F_l)) + D(Q(U_l(sg F3)), Q(sg F_l)) ]

    w(e) = exp( −5 · (1 − min(e, 5)/5)² ),   e from 1

K are the F3 of both students, `Fusion` G makes Φ and a_G of them, `Expansion` U of an F3 or of Φ
maps like F2 and F1; δ and x̃ are those of `diversified`. Each detaches what belongs to others, so
one backward pass over the sum trains all of them as the authors' code does. The leader is the
student that is reported; s0 and s1 leave the same files, named `-common0` and `-common1`.

Weights are as in the code (B17): 1e-5 and 10 also stand before the self-distillation of s1 and of
the leader, which the terms `student_self` and `leader_self` hold apart from `diversity` and
`fusion`. G has a weight decay of its own, and U is under Adam (B19).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import exp
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.errors import Refused
from xkd.losses import (
    at_least_float32,
    attention_loss,
    attention_map,
    cross_entropy,
    feature_loss,
    soft_target_loss,
)
from xkd.methods.base import BaseMethod, Batch, BuildContext, Group, Stage, StepOutput
from xkd.networks import Network, Output
from xkd.plan.settings import Recipe

RAMP = 5  # epochs until the weights of features are full
RAMPED = ("diversity", "student_self", "fusion", "leader_self", "expansion")


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T, softens the predictions of all networks alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 2.0,
        },
        "fusion_weight_decay": {
            "description": "weight decay of the fusion module",
            "type": "number",
            "minimum": 0,
            "default": 1e-5,
        },
        "expansion_lr": {
            "description": "rate of Adam for the expansions, under the recipe's schedule",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 1e-3,
        },
        "expansion_weight_decay": {
            "description": "weight decay (L2) of the expansions",
            "type": "number",
            "minimum": 0,
            "default": 1e-4,
        },
    }
    WEIGHTS: ClassVar = {
        "ce": 1.0,
        "kl": 1.0,
        "diversity": 1e-5,
        "student_self": 1e-5,
        "fusion": 10.0,
        "leader_self": 10.0,
        "expansion": 1000.0,
    }
    PASSES: ClassVar = 3
    NEEDS: ClassVar = ("pooled_head",)

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        shapes = context.student_features[1:]
        if len(shapes) != 3:
            raise Refused(
                f"ffsd: the student has {len(shapes)} stages; expected the 3 of a CIFAR ResNet"
            )
        channels = [shape[0] for shape in shapes]
        self.students = nn.ModuleList(context.spawn() for _ in range(2))
        self.fusion = Fusion(2 * channels[-1], channels[-1], context.classes)
        self.transfer = separable(channels[-1], 2 * channels[-1])
        self.expansions = nn.ModuleList(Expansion(channels) for _ in range(2))  # of s1, of ℓ

    @property
    def others(self) -> dict[str, Network]:
        return {f"common{number}": network for number, network in enumerate(self.students)}

    def groups(self, stage: str) -> Sequence[Group]:
        decay, rate = self.options["expansion_weight_decay"], self.options["expansion_lr"]
        return [
            Group(list(self.fusion.parameters()), weight_decay=self.options["fusion_weight_decay"]),
            Group(list(self.expansions.parameters()), "adam", rate, decay),
        ]

    def stages(self, recipe: Recipe) -> list[Stage]:
        return [Stage("train", recipe.epochs, partial(ramped, self.weights))]

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        leader, *common = (n(batch.images) for n in (self.student, *self.students))
        maps = torch.cat([output.features[-1].detach() for output in common], dim=1)  # K
        fused, fused_logits = self.fusion(maps)
        terms = {}
        if self.wants("ce"):
            logits = [output.logits for output in (leader, *common)]
            terms["ce"] = sum(cross_entropy(z, batch.labels) for z in (*logits, fused_logits))
        if self.wants("kl"):
            terms["kl"] = self.mutual(leader.logits, common, fused_logits)
        terms |= self.of_student(*common)
        terms |= self.of_leader(leader, fused.detach(), maps)
        if self.wants("expansion"):
            pairs = zip(self.expansions, (common[1], leader), strict=True)
            terms["expansion"] = sum(expansion_loss(*pair) for pair in pairs)
        mean = (common[0].logits + common[1].logits).detach()
        common_top1 = (mean.argmax(dim=1) == batch.labels).float().mean()
        return StepOutput(leader.logits, terms, {"common_top1": common_top1})

    def mutual(self, leader: Tensor, common: Sequence[Output], fused: Tensor) -> Tensor:
        """The four divergences: of either student, of the fusion, of the leader."""
        first, second = (output.logits for output in common)
        pairs = (first, second), (second, first), (fused, (first + second) / 2), (leader, fused)
        return sum(soft_target_loss(*pair, self.options["temperature"]) for pair in pairs)

    def of_student(self, first: Output, second: Output) -> dict[str, Tensor]:
        """Terms that push s1 away from s0, and towards what U1 makes of the pushed maps."""
        terms = {}
        target, pushed = diversified(first.features[-1].detach())
        if self.wants("diversity"):
            terms["diversity"] = feature_loss(attention_map(second.features[-1]), target)
        if self.wants("student_self"):
            expected = expanded(self.expansions[0], pushed)
            pairs = zip(second.features[1:3], expected, strict=True)
            terms["student_self"] = sum(attention_loss(*pair) for pair in pairs)
        return terms

    def of_leader(self, leader: Output, fused: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """Terms that pull the leader towards the fused maps, and what Uℓ makes of them.

        Args:
            fused: Φ; maps: K; both constants.
        """
        terms = {}
        if self.wants("fusion"):
            own = leader.features[-1]
            terms["fusion"] = attention_loss(own, fused) + attention_loss(self.transfer(own), maps)
        if self.wants("leader_self"):
            expected = expanded(self.expansions[1], fused)
            pairs = zip(leader.features[1:3], expected, strict=True)
            terms["leader_self"] = sum(attention_loss(*pair) for pair in pairs)
        return terms


def ramped(weights: Mapping[str, float], epoch: int) -> dict[str, float]:
    """Weights of a 1-based epoch: those of feature terms times w(e)."""
    share = exp(-5 * (1 - min(epoch, RAMP) / RAMP) ** 2)
    return {term: factor * share if term in RAMPED else factor for term, factor in weights.items()}


def separable(channels_in: int, channels_out: int) -> nn.Sequential:
    """Depthwise 3×3 – BN – ReLU – 1×1 – BN – ReLU, without bias; Kaiming normal, fan-out."""
    depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False)
    pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    for convolution in (depthwise, pointwise):
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    norms = nn.BatchNorm2d(channels_in), nn.BatchNorm2d(channels_out)
    return nn.Sequential(depthwise, norms[0], nn.ReLU(), pointwise, norms[1], nn.ReLU())


class Fusion(nn.Module):
    """G: the maps of both students as those of one, and their logits."""

    def __init__(self, channels_in: int, channels_out: int, classes: int) -> None:
        super().__init__()
        self.maps = separable(channels_in, channels_out)
        self.classifier = nn.Linear(channels_out, classes)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """maps: K, [B, 2·channels, h, w]. Returns: Φ, [B, channels, h, w], and a_G, [B, C]."""
        fused = self.maps(maps)
        return fused, self.classifier(fused.mean((2, 3)))


class Expansion(nn.Module):
    """U: maps like F2 and F1, made of maps like F3; twice transposed conv3×3 – BN – ReLU."""

    def __init__(self, channels: Sequence[int]) -> None:
        """channels: of F1, F2, F3."""
        super().__init__()
        self.second, self.first = (
            nn.Sequential(
                nn.ConvTranspose2d(
                    channels_in, channels_out, 3, 2, padding=1, output_padding=1, bias=False
                ),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
            )
            for channels_in, channels_out in (channels[:0:-1], channels[1::-1])
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """maps: [B, channels of F3, h, w]. Returns: (U_1, U_2), shaped as F1 and F2."""
        second = self.second(maps)
        return self.first(second), second


@torch.no_grad()
def expanded(expansion: Expansion, maps: Tensor) -> tuple[Tensor, Tensor]:
    """(U_1, U_2) of maps, constants, with U in evaluation mode."""
    training = expansion.training
    expansion.eval()
    made = expansion(maps)
    expansion.train(training)
    return made


def expansion_loss(expansion: Expansion, output: Output) -> Tensor:
    """Σ_l D(unit(U_l(F3)), unit(F_l)) + D(Q(U_l(F3)), Q(F_l)), which trains U alone."""
    first, second, third = (feature.detach() for feature in output.features[1:])
    pairs = zip(expansion(third), (first, second), strict=True)
    return sum(
        feature_loss(unit(made), unit(wanted)) + attention_loss(made, wanted)
        for made, wanted in pairs
    )


def unit(maps: Tensor) -> Tensor:
    """Whole maps, all channels together, of unit length per image; [B, channels·h·w]."""
    return F.normalize(at_least_float32(maps).flatten(1), dim=1)


def diversified(features: Tensor) -> tuple[Tensor, Tensor]:
    """Where another student shall look, and the features that look there.

        m = vec( mean_ch F² ),   n = ‖m‖,   q = m / n,   θ the ⌊hw/3⌋-th smallest entry of q
        δ = q where q < θ,   n/2 where q = θ,   n − q where q > θ
        x̃ = F + (δ − q) · n / C,   the same for all C channels

    As in the authors' code, where n − q is at the scale of n, not of the unit vector.

    Args:
        features: F, [B, C, h, w], a constant.
    Returns: δ, [B, h·w], and x̃, [B, C, h, w].
    """
    features = at_least_float32(features)
    energy = features.square().mean(dim=1).flatten(1)
    length = torch.linalg.vector_norm(energy, dim=1, keepdim=True)
    share = attention_map(features)
    rank = max(1, share.shape[1] // 3)
    threshold = share.sort(dim=1).values[:, rank - 1 : rank]
    turned = torch.where(share > threshold, length - share, length / 2)
    target = torch.where(share < threshold, share, turned)
    change = ((target - share) * length / features.shape[1]).view_as(features[:, 0])
    return target, features + change[:, None]
