"""FitNet in a single stage: match a feature map of the teacher through a regressor.

    L = CE(p, y) + β · mean( (r(F2_s) − F2_t)² )      Romero et al. 2015, Eq. 3

F2 is the output of the second stage (A33). β = 100, the regressor and the single stage are those
of RepDistiller, which the Oracle paper's baselines follow; the original two stages are `hint`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from xkd.errors import Refused
from xkd.losses import cross_entropy, feature_loss
from xkd.methods.base import BaseMethod, Batch, BuildContext, StepOutput
from xkd.networks import Network

GUIDED = 2  # F2


class Method(BaseMethod):
    OPTIONS: ClassVar = {}
    WEIGHTS: ClassVar = {"ce": 1.0, "hint": 100.0}
    TEACHER: ClassVar = ("features",)

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        self.regressor = regressor(context)

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output = self.student(batch.images)
        terms = {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(output.logits, batch.labels)
        if self.wants("hint"):
            guided = self.regressor(output.features[GUIDED])
            terms["hint"] = feature_loss(guided, batch.teacher.features[GUIDED])
        return StepOutput(output.logits, terms)


def regressor(context: BuildContext) -> nn.Module:
    """r: convolution, batch norm, ReLU, from the student's F2 to the shape of the teacher's.

    The kernel is 1×1 for maps of equal size and grows by their difference, as in RepDistiller.
    Raises: Refused if the student's map is smaller than the teacher's.
    """
    channels_in, *student = context.student_features[GUIDED]
    channels_out, *teacher = context.teacher_features[GUIDED]
    kernel = tuple(1 + have - want for have, want in zip(student, teacher, strict=True))
    if min(kernel) < 1:
        raise Refused(
            f"the student's F{GUIDED} is {student}, smaller than the teacher's, {teacher}; "
            "a hint needs a map at least as large: choose networks of one family"
        )
    # Batch norm takes the place of a bias.
    convolution = nn.Conv2d(channels_in, channels_out, kernel, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())
