"""Label smoothing: L = CE(p, t), t of `losses.smoothed_targets` (Szegedy et al. 2016; LE, §5.1)."""

from typing import ClassVar

from xkd.losses import cross_entropy, smoothed_targets
from xkd.methods.base import BaseMethod, Batch, StepOutput


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "true_class": {
            "description": "s, what the label keeps; LE tries 0.6, 0.7, 0.8, 0.9",
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 0.9,
        }
    }
    WEIGHTS: ClassVar = {"ls": 1.0}

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        targets = smoothed_targets(batch.labels, logits, self.options["true_class"])
        return StepOutput(logits, {"ls": cross_entropy(logits, targets)})
