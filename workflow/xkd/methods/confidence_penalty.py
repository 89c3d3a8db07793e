"""Confidence penalty: cross-entropy that rewards entropy (LE, §5.1; Pereyra et al. 2017).

    L = CE(p, y) − β · H(p)      H in nats; gradient flows through it

β is the weight of the term `negative_entropy`; LE tries 0.1, 0.3, 0.5, 1, 2, 4, 8.
"""

from typing import ClassVar

from xkd.losses import cross_entropy, entropy
from xkd.methods.base import BaseMethod, Batch, StepOutput


class Method(BaseMethod):
    OPTIONS: ClassVar = {}
    WEIGHTS: ClassVar = {"ce": 1.0, "negative_entropy": 0.5}

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        terms = {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(logits, batch.labels)
        if self.wants("negative_entropy"):
            terms["negative_entropy"] = -entropy(logits)
        return StepOutput(logits, terms)
