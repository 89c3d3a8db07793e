"""DKD: decoupled knowledge distillation (Zhao et al. 2022, Eq. 7).

    L = CE(p, y) + min(epoch / W, 1) · ( α · TCKD + β · NCKD )

TCKD and NCKD are `losses.decoupled_losses`, with their factor T²; α and β are the weights of the
terms. Epochs count from 1; W = 20, α = 1 and T = 4 are those of mdistiller. β = 2 is its value for
CIFAR ResNets; other families have their own (A40). `standardise` takes both parts of logits of
mean 0 and standard deviation 1 (Sun et al. 2024), whose w multiplies α and β alike.
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from xkd.losses import cross_entropy, decoupled_losses, standardised
from xkd.methods.base import BaseMethod, Batch, Stage, StepOutput
from xkd.plan.settings import Recipe


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T, softens student and teacher alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        },
        "standardise": {
            "description": "soften logits of mean 0 and standard deviation 1",
            "type": "boolean",
            "default": False,
        },
        "warmup": {
            "description": "W, epochs over which the teacher's terms reach their full weight",
            "type": "integer",
            "minimum": 1,
            "below": "epochs",
            "default": 20,
        },
    }
    WEIGHTS: ClassVar = {"ce": 1.0, "tckd": 1.0, "nckd": 2.0}
    TEACHER: ClassVar = ("logits",)

    def stages(self, recipe: Recipe) -> list[Stage]:
        weights = partial(warmed_up, self.weights, self.options["warmup"])
        return [Stage("train", recipe.epochs, weights)]

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        terms = {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(logits, batch.labels)
        if self.wants("tckd") or self.wants("nckd"):
            pair = logits, batch.teacher.logits
            if self.options["standardise"]:
                pair = map(standardised, pair)
            parts = decoupled_losses(*pair, batch.labels, self.options["temperature"])
            decoupled = zip(("tckd", "nckd"), parts, strict=True)
            terms |= {term: loss for term, loss in decoupled if self.wants(term)}
        return StepOutput(logits, terms)


def warmed_up(weights: Mapping[str, float], warmup: int, epoch: int) -> dict[str, float]:
    """Weights of a 1-based epoch: the teacher's terms grow linearly over `warmup` epochs."""
    share = min(epoch / warmup, 1.0)
    return {term: factor if term == "ce" else share * factor for term, factor in weights.items()}
