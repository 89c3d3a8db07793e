"""SAD: attention decides which feature of the student follows which of the teacher (AFD).

    L = CE(p, y) + α · T² · KL( q^T ‖ p^T ) + β · AFD      Ji, Heo & Park 2021 (AAAI), §3
    AFD = Σ_t mean_batch Σ_s att_ts · mean_pos( (v_s − v_t)² )

v are the `losses.attention_map`s of all block outputs; α = 0.9, T = 4 and β = 200 (A42) are those
of the authors' code. The attention network is trained along with the student, by the same
optimiser; gradient reaches the student through its values and its keys.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.losses import at_least_float32, attention_map
from xkd.methods import kd
from xkd.methods.base import Batch, BuildContext, StepOutput
from xkd.networks import Network

MOST_FEATURES = 27


class Method(kd.Method):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T, softens student and teacher alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        },
        "width": {
            "description": "length of queries and keys",
            "type": "integer",
            "minimum": 1,
            "default": 128,
        },
    }
    WEIGHTS: ClassVar = {"ce": 1.0, "kd": 0.9, "afd": 200.0}
    TEACHER: ClassVar = ("logits", "blocks")

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        self.attention = Attention(
            [channels for channels, *_ in selected(context.student_blocks)],
            [channels for channels, *_ in selected(context.teacher_blocks)],
            self.options["width"],
        )

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output = self.student(batch.images)
        terms = self.logit_terms(output.logits, batch)
        if self.wants("afd"):
            student = selected(output.blocks)
            teacher = [block.detach() for block in selected(batch.teacher.blocks)]
            terms["afd"] = attended_distance(student, teacher, self.attention(student, teacher))
        return StepOutput(output.logits, terms)


def selected(blocks: Sequence) -> Sequence:
    """All blocks; of a network as deep as ResNet110 every second one, up to the last (A41)."""
    return blocks if len(blocks) <= MOST_FEATURES else blocks[1::2]


class Attention(nn.Module):
    """Attention of every teacher feature over the features of the student.

        att_ts = softmax_s( ( ⟨query_t, key_st⟩ + ⟨P_t, P_s⟩ ) / √width )

    query_t = BN(Linear(GAP h_t)). key_st is the part for t of BN(Linear(k_s)), a layer that all
    student features share, with k_s = ReLU(BN(Linear(GAP h_s))). P are learned positions.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], width: int = 128) -> None:
        """student, teacher: number of channels of every feature."""
        super().__init__()
        self.queries = nn.ModuleList(_projection(channels, width) for channels in teacher)
        self.keys = nn.ModuleList(
            nn.Sequential(_projection(channels, width), nn.ReLU()) for channels in student
        )
        self.shared = _projection(width, width * len(teacher))
        self.teacher_positions = nn.Parameter(torch.empty(len(teacher), width))
        self.student_positions = nn.Parameter(torch.empty(len(student), width))
        nn.init.xavier_normal_(self.teacher_positions)
        nn.init.xavier_normal_(self.student_positions)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """student, teacher: N and M features, [B, channels, h, w]. Returns: [B, M, N], Σ_s = 1."""
        queries = _projected(teacher, self.queries)  # [B, M, width]
        keys = _projected(student, self.keys)  # [B, N, width]
        # All keys of a batch share one normalisation.
        keys = self.shared(keys.flatten(0, 1)).view(*keys.shape[:2], *queries.shape[1:])
        scores = torch.einsum("bsmw,bmw->bms", keys, queries)
        scores = scores + self.teacher_positions @ self.student_positions.T
        return at_least_float32(scores / queries.shape[2] ** 0.5).softmax(dim=2)


def _projection(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels_in, channels_out), nn.BatchNorm1d(channels_out))


def _projected(features: Sequence[Tensor], projections: nn.ModuleList) -> Tensor:
    pairs = zip(features, projections, strict=True)
    return torch.stack([projection(feature.mean((2, 3))) for feature, projection in pairs], dim=1)


def attended_distance(
    student: Sequence[Tensor], teacher: Sequence[Tensor], attention: Tensor
) -> Tensor:
    """Distances of student from teacher features, weighted by attention.

        AFD = Σ_t mean_batch Σ_s att_ts · mean_pos( (v_s − v_t)² )

    Args:
        student, teacher: N and M features, [B, channels, h, w].
        attention: [B, M, N].
    Returns: scalar.
    """
    values = {size: student_values(student, size) for size in {t.shape[2:] for t in teacher}}
    distances = [
        (values[t.shape[2:]] - attention_map(t)[:, None]).square().mean(dim=2) for t in teacher
    ]
    return (attention * torch.stack(distances, dim=1)).sum(dim=(1, 2)).mean()


def student_values(features: Sequence[Tensor], size: torch.Size) -> Tensor:
    """Squared features, averaged over channels, brought to a teacher's size, of unit length.

    Args:
        features: N of them, [B, channels, h, w].
        size: (h', w') of the teacher.
    Returns: [B, N, h'·w'].
    """
    energies = [at_least_float32(feature).square().mean(dim=1) for feature in features]
    alike = [torch.stack(list(same), 1) for _, same in groupby(energies, lambda e: e.shape)]
    return F.normalize(torch.cat([resized(maps, size) for maps in alike], 1).flatten(2), dim=2)


def resized(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps averaged down, or repeated up, to a size that divides theirs or is a multiple of it.

    The same as adaptive average pooling, whose gradient is not deterministic on GPUs.

    Args:
        maps: [B, N, h, w].
        size: (h', w').
    Raises: ValueError if the sizes do not divide.
    """
    for axis, (have, want) in enumerate(zip(maps.shape[2:], size, strict=True), start=2):
        if have % want == 0:
            maps = maps.unflatten(axis, (want, have // want)).mean(dim=axis + 1)
        elif want % have == 0:
            maps = maps.repeat_interleave(want // have, dim=axis)
        else:
            raise ValueError(f"cannot bring a map of {have} pixels to {want}; expected a multiple")
    return maps
