"""CE: cross-entropy with the labels, L = CE(p, y), and nothing else (gradient: LE, Eq. 3)."""

from typing import ClassVar

from xkd.losses import cross_entropy
from xkd.methods.base import BaseMethod, Batch, StepOutput


class Method(BaseMethod):
    OPTIONS: ClassVar = {}
    WEIGHTS: ClassVar = {"ce": 1.0}

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        return StepOutput(logits, {"ce": cross_entropy(logits, batch.labels)})
