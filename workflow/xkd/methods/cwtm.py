"""CWTM: cross-entropy, each sample weighted by the teacher's confidence (LE, §3).

    L = Σ_i w_i · CE(p_i, y_i),   w_i = q_i^max / Σ_u q_u^max,   q^max = max_k softmax(z)_k

Its gradient is LE, Eq. 5. Sums run over the batch, so that the weights add up to one (A16);
confidences are taken at T = 1 (A15). Two controls of the paper keep such weights but not what they
say about their samples:

    CWTM-Permut   w_π(i), π a permutation of the batch
    CWTM-Random   r_i ~ U[β, 1) in the place of q_i^max

both drawn anew at every step.
"""

from typing import ClassVar

import torch
from torch import Tensor

from xkd.losses import at_least_float32, cross_entropy
from xkd.methods.base import BaseMethod, Batch, StepOutput


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "weighting": {
            "description": "confidences of the teacher, the same among permuted samples, or random",
            "enum": ["teacher", "permuted", "random"],
            "default": "teacher",
        },
        "beta": {
            "description": "lowest random confidence; 0.5 is what makes it a maximum",
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.5,
        },
    }
    WEIGHTS: ClassVar = {"cwtm": 1.0}
    TEACHER: ClassVar = ("logits",)

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        weights = self.sample_weights(batch.teacher.logits)
        return StepOutput(logits, {"cwtm": cross_entropy(logits, batch.labels, weights)})

    def sample_weights(self, teacher: Tensor) -> Tensor:
        """Non-negative, of sum one, [B]; from the teacher's logits, [B, C]."""
        confidences = at_least_float32(teacher.detach()).softmax(dim=1).amax(dim=1)
        if self.options["weighting"] == "permuted":
            confidences = confidences[torch.rand_like(confidences).argsort()]
        elif self.options["weighting"] == "random":
            beta = self.options["beta"]
            confidences = beta + (1 - beta) * torch.rand_like(confidences)
        return confidences / confidences.sum()
