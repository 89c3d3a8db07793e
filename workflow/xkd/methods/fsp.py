"""FSP: the flow between layers as an initialisation, then KD (Yim et al. 2017; LE, Table 5).

    stage `fsp`     L = Σ_pairs mean( (G_s − G_t)² ),   pairs (F1, F2) and (F2, F3)
    stage `train`   L = T² · KL( q^T ‖ p^T ) + λ · CE(p, y)

G is `losses.fsp_matrix`. LE pairs the outputs of consecutive stages, of which the larger is
max-pooled (A36); the original pairs input and output of each stage. The classifier rests in the
first stage, whose length and rate are RepDistiller's (A34).
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from xkd.losses import feature_loss, fsp_matrix
from xkd.methods import kd
from xkd.methods.base import Batch, Stage, StepOutput
from xkd.plan.settings import Recipe


class Method(kd.Method):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T, softens student and teacher alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        },
        "first_epochs": {
            "description": "epochs of the first stage (A34)",
            "type": "integer",
            "minimum": 1,
            "default": 30,
        },
        "first_lr": {
            "description": "constant learning rate of the first stage (A34)",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.05,
        },
    }
    WEIGHTS: ClassVar = {"fsp": 1.0, "kd": 1.0, "ce": 0.1}
    TEACHER: ClassVar = ("logits", "features")

    def stages(self, recipe: Recipe) -> list[Stage]:
        return self.stages_after("fsp", recipe)

    def trained(self, stage: str) -> Iterable[nn.Parameter]:
        if stage == "train":
            return self.student.parameters()
        resting = {id(p) for p in self.student.classifier.parameters()}
        return [p for p in self.student.parameters() if id(p) not in resting]

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output = self.student(batch.images)
        if stage == "train":
            return StepOutput(output.logits, self.logit_terms(output.logits, batch))
        pairs = zip(flows(output.features), flows(batch.teacher.features), strict=True)
        return StepOutput(output.logits, {"fsp": sum(feature_loss(*pair) for pair in pairs)})


def flows(features: tuple[Tensor, ...]) -> list[Tensor]:
    """FSP matrices of consecutive stage outputs; F0, the stem, takes no part."""
    return [fsp_matrix(first, second) for first, second in pairwise(features[1:])]
