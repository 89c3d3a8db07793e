"""DIST: correlations between predictions instead of their divergence (Huang et al. 2022).

    L = CE(p, y) + w · (β · inter + γ · intra)
    inter = τ² · (1 − mean_i ρ(p_i·, q_i·))      classes of one image
    intra = τ² · (1 − mean_k ρ(p_·k, q_·k))      images of one batch

with predictions p of the student and q of the teacher softened at τ. τ = 4, w = 2, β = γ = 1 are
the authors' for CIFAR-100, and the weights of the terms here are w·β and w·γ. τ² makes either
relation weigh 32: a loss near 60 at the start is normal. `intra` compares the images of a batch, of
which the authors have 64 (B20); they drop the last, smaller batch of an epoch.
"""

from typing import ClassVar

import torch
from torch import Tensor

from xkd.losses import at_least_float32, cross_entropy
from xkd.methods.base import BaseMethod, Batch, StepOutput

EPSILON = 1e-8  # beside the product of both norms, as in the authors' code


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "τ, softens student and teacher alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        }
    }
    WEIGHTS: ClassVar = {"ce": 1.0, "inter": 2.0, "intra": 2.0}
    TEACHER: ClassVar = ("logits",)
    WHOLE_BATCH: ClassVar = True

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits, temperature = self.student(batch.images).logits, self.options["temperature"]
        terms = {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(logits, batch.labels)
        student, teacher = (
            (at_least_float32(z) / temperature).softmax(dim=1)
            for z in (logits, batch.teacher.logits.detach())
        )
        if self.wants("inter"):
            terms["inter"] = temperature**2 * unrelated(student, teacher)
        if self.wants("intra"):
            terms["intra"] = temperature**2 * unrelated(student.T, teacher.T)
        return StepOutput(logits, terms)


def unrelated(one: Tensor, other: Tensor) -> Tensor:
    """1 − mean ρ: how far the rows of two matrices are from being correlated.

        ρ(u, v) = ⟨u − ū, v − v̄⟩ / (‖u − ū‖ · ‖v − v̄‖ + ε)

    Args:
        one, other: [R, D], float32 or wider.
    Returns: scalar in [0, 2].
    """
    u, v = (rows - rows.mean(dim=1, keepdim=True) for rows in (one, other))
    norms = torch.linalg.vector_norm(u, dim=1) * torch.linalg.vector_norm(v, dim=1)
    return 1 - ((u * v).sum(dim=1) / (norms + EPSILON)).mean()
