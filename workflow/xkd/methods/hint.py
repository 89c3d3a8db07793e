"""Hint: FitNets in two stages (Romero et al. 2015; LE, Table 5).

    stage `hint`    L = mean( (r(F2_s) − F2_t)² ) over the student up to F2 and the regressor r
    stage `train`   L = T² · KL( q^T ‖ p^T ) + λ · CE(p, y) over the whole student; r is discarded

F2 is the output of the second stage, LE's "2nd layer" (A33). Length and rate of the first stage
are those of RepDistiller's initialisation (A34); the second is LE's KD, without the temperature
and the annealed weight of the original.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import nn

from xkd.losses import feature_loss
from xkd.methods import kd
from xkd.methods.base import Batch, BuildContext, Stage, StepOutput
from xkd.methods.fitnet import GUIDED, regressor
from xkd.networks import Network
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
    WEIGHTS: ClassVar = {"hint": 1.0, "kd": 1.0, "ce": 0.1}
    TEACHER: ClassVar = ("logits", "features")

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        self.regressor = regressor(context)

    def stages(self, recipe: Recipe) -> list[Stage]:
        return self.stages_after("hint", recipe)

    def trained(self, stage: str) -> Iterable[nn.Parameter]:
        if stage == "train":
            return self.student.parameters()
        late = [self.student.get_submodule(name) for name in self.student.stages[GUIDED:]]
        beyond = {id(p) for part in (*late, self.student.classifier) for p in part.parameters()}
        guided = [p for p in self.student.parameters() if id(p) not in beyond]
        return [*guided, *self.regressor.parameters()]

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output = self.student(batch.images)
        if stage == "train":
            return StepOutput(output.logits, self.logit_terms(output.logits, batch))
        guided = self.regressor(output.features[GUIDED])
        hint = feature_loss(guided, batch.teacher.features[GUIDED])
        return StepOutput(output.logits, {"hint": hint})
