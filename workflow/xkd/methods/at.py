"""AT: attention transfer, alone or added to KD (Zagoruyko & Komodakis 2017).

    L = T² · KL( q^T ‖ p^T ) + λ · CE(p, y) + β · Σ_{l = 1..3} mean( (Q_l^s − Q_l^t)² )

Q_l is the `losses.attention_map` of stage l; β = 1000 as in the authors' code, not decayed (A35).
The default is AT+KD of LE, Table 5. AT of the Oracle paper has the weights kd 0, ce 1, at 1000.
"""

from typing import ClassVar

from xkd.losses import attention_loss
from xkd.methods import kd
from xkd.methods.base import Batch, StepOutput


class Method(kd.Method):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T, softens student and teacher alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        }
    }
    WEIGHTS: ClassVar = {"kd": 1.0, "ce": 0.1, "at": 1000.0}
    TEACHER: ClassVar = ("logits", "features")

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output = self.student(batch.images)
        terms = self.logit_terms(output.logits, batch)
        if self.wants("at"):
            stages = zip(output.features[1:], batch.teacher.features[1:], strict=True)
            terms["at"] = sum(attention_loss(*pair) for pair in stages)
        return StepOutput(output.logits, terms)
