"""KD: knowledge distillation by softened predictions (Hinton et al. 2015).

    L = T² · KL( q^T ‖ p^T ) + λ · CE(p, y)      T = 4, λ = 0.1: LE, §5.3; the form is A32

`standardise` works with logits of mean 0 and standard deviation 1 instead (Sun et al. 2024), whose
weights are kd 9, ce 0.1, at a base temperature T = 2 (B22).

With other weights and teachers this is also the benchmark's KD (kd 0.9), KD without labels of
LE's Table 1 (ce 0), BAN and BAN+L (the teacher is a network like the student), and both steps of
TAKD (through an assistant). Methods that add feature terms extend the class below.
"""

from typing import ClassVar

from torch import Tensor

from xkd.losses import cross_entropy, soft_target_loss, standardised
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
    }
    WEIGHTS: ClassVar = {"kd": 1.0, "ce": 0.1}
    TEACHER: ClassVar = ("logits",)

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        return StepOutput(logits, self.logit_terms(logits, batch))

    def logit_terms(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The terms `kd` and `ce`, as far as the weights list them."""
        terms = {}
        if self.wants("kd"):
            pair = logits, batch.teacher.logits
            if self.options.get("standardise"):
                pair = map(standardised, pair)
            terms["kd"] = soft_target_loss(*pair, self.options["temperature"])
        if self.wants("ce"):
            terms["ce"] = cross_entropy(logits, batch.labels)
        return terms

    def stages_after(self, first: str, recipe: Recipe) -> list[Stage]:
        """A first stage that minimises the term `first` alone, then the other terms from there.

        The first stage has its own length and constant rate, options `first_epochs` and
        `first_lr` (A34); momentum and weight decay are the recipe's.
        """
        epochs, lr = self.options["first_epochs"], self.options["first_lr"]
        prelude = recipe.constant(first, epochs, lr)
        rest = {term: factor for term, factor in self.weights.items() if term != first}
        return [
            Stage(first, prelude.epochs, {first: self.weights[first]}, prelude),
            Stage("train", recipe.epochs, rest),
        ]
