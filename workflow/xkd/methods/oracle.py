"""Oracle: distillation from a teacher that sees reinforced images (Lee et al. 2023, Eq. 2-4).

    L = w · CE( p(x), y ) + α · T² · KL( softmax(z(x*) / T) ‖ softmax(a(x) / T) )
    x* = x − γ · |x| ⊙ ∂ℓ/∂x,   ℓ the teacher's own loss (A43, A44)

The student sees the ordinary image. The logits of x* arrive with the batch: `xkd.reinforce` makes
the images. T² is in the authors' code, not in the paper; the settings are those of their run
records (A13, A45). γ = 0 is the control that tells the gain of x* from that of T and w; with a
`logit_step` beside it, the teacher's answers improve as x* would improve them, but without looking
at an image: z* = z − η · (softmax(z) − onehot(y)).
"""

from typing import ClassVar

from xkd.losses import cross_entropy, soft_target_loss
from xkd.methods.base import BaseMethod, Batch, StepOutput
from xkd.reinforce import step_logits


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T, softens student and teacher alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 2.0,
        },
        "gamma": {
            "description": "step of the reinforcement: kind gradient, in units of 1/64 per sample; "
            "kind sign, in normalised input units",
            "type": "number",
            "minimum": 0,
            "default": 0.5,
        },
        "kind": {
            "description": "step along the loss gradient; along its sign (A48); or, as a control, "
            "as far as the gradient goes in a random direction",
            "enum": ["gradient", "sign", "random"],
            "default": "gradient",
        },
        "steps": {
            "description": "how often to repeat the step, from where the last one ended",
            "type": "integer",
            "minimum": 1,
            "default": 1,
        },
        "logit_step": {
            "description": "η of a step of the teacher's logits down their own loss, as a control; "
            "`responses.json` says which η gives a teacher the accuracy that it has on x*",
            "type": "number",
            "minimum": 0,
            "default": 0,
        },
        "clip": {
            "description": "after every step, clip to what black and white are",
            "type": "boolean",
            "default": False,
        },
    }
    WEIGHTS: ClassVar = {"oracle": 1.0, "ce": 1.0}
    TEACHER: ClassVar = ("logits",)
    REINFORCES: ClassVar = True

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        terms = {}
        if self.wants("oracle"):
            answers = batch.teacher.logits
            if step := self.options["logit_step"]:
                answers = step_logits(answers, batch.labels, step)
            terms["oracle"] = soft_target_loss(logits, answers, self.options["temperature"])
        if self.wants("ce"):
            terms["ce"] = cross_entropy(logits, batch.labels)
        return StepOutput(logits, terms)
