"""DKPP: distillation from a teacher whose other predictions are permuted (LE, §3).

    L = T² · KL( q̃^T ‖ p^T )

q̃ keeps the teacher's largest entry in place and shuffles the rest, anew per sample and step: what
the teacher knows about the similarity of classes is gone, its confidence remains. The kept entry
is the arg-max, as in Born-Again Networks (Furlanello et al. 2018), not the label (A17); T is A15.
"""

from typing import ClassVar

from xkd.losses import permute_others, soft_target_loss
from xkd.methods.base import BaseMethod, Batch, StepOutput


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T, softens student and teacher alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        }
    }
    WEIGHTS: ClassVar = {"dkpp": 1.0}
    TEACHER: ClassVar = ("logits",)

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        teacher = batch.teacher.logits
        # Shuffling logits shuffles probabilities alike, at any temperature.
        teacher = permute_others(teacher, teacher.argmax(dim=1))
        return StepOutput(
            logits, {"dkpp": soft_target_loss(logits, teacher, self.options["temperature"])}
        )
