"""MLKD without its strong views: logits compared one by one, image by image, class by class.

    L = 0.1 · CE(a) + w · ( r · Σ_{T ∈ 𝒯} KL_T(z ‖ a) + Σ_{T ∈ {2, 6}} KL_T(z ‖ a) )
        + w · r · Σ_T ‖P Pᵀ − Q Qᵀ‖²_F / B + w · r_c · Σ_T ‖Pᵀ P − Qᵀ Q‖²_F / c

with 𝒯 = {T0, 3, 5, 2, 6}, T0 = 4, w = 0.9, KL_T with its factor T², and P, Q [B, c] the predictions
of student and teacher softened at T (Jin, Wang & Lin 2023). What is left of `mlkd` where every term
of the strong view is dropped: it tells the loss from augmentation and length (B25), and a table of
logits will do.

r is the share of images whose teacher is at most as confident as the median of the batch, r_c the
share of classes whose teacher's probabilities add up to at most the median over classes: 1/2, but
for ties and odd numbers. The authors' masks multiply losses that are means already, and so only
scale them (B23); `masked` leaves images and classes out instead.
"""

from typing import ClassVar

import torch
from torch import Tensor

from xkd.losses import at_least_float32, cross_entropy, standardised
from xkd.methods.base import BaseMethod, Batch, StepOutput

FURTHER = (3.0, 5.0, 2.0, 6.0)  # temperatures of 𝒯 besides T0
AGAIN = (2.0, 6.0)  # those of the weak view that are added once more, unmasked


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "T0, the first of the temperatures",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        },
        "masked": {
            "description": "leave out the images and classes that masks are meant for",
            "type": "boolean",
            "default": False,
        },
        "standardise": {
            "description": "in the divergences, logits of mean 0 and standard deviation 1",
            "type": "boolean",
            "default": False,
        },
    }
    WEIGHTS: ClassVar = {"ce": 0.1, "kd": 0.9, "batch": 0.9, "classes": 0.9}
    TEACHER: ClassVar = ("logits",)
    WHOLE_BATCH: ClassVar = True

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        terms = {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(logits, batch.labels)
        return StepOutput(logits, terms | self.weak_terms(logits, batch.teacher.logits))

    @property
    def temperatures(self) -> tuple[float, ...]:
        return (self.options["temperature"], *FURTHER)

    def weak_terms(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """The terms kd, batch and classes of logits [B, C], as far as the weights list them."""
        terms, teacher = {}, teacher.detach()
        images, classes = self.masks(teacher)
        if self.wants("kd"):
            masked = [
                (images * self.divergences(student, teacher, t)).mean() for t in self.temperatures
            ]
            plain = [self.divergences(student, teacher, t).mean() for t in AGAIN]
            terms["kd"] = sum(masked) + sum(plain)
        softened = [
            [(at_least_float32(z) / t).softmax(dim=1) for z in (student, teacher)]
            for t in self.temperatures
        ]
        if self.wants("batch"):
            terms["batch"] = sum((images * relations(p, q)).mean() for p, q in softened)
        if self.wants("classes"):
            terms["classes"] = sum((classes * relations(p.T, q.T)).mean() for p, q in softened)
        return terms

    def divergences(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² · KL( softmax(z/T) ‖ softmax(a/T) ) of every image, [B], in nats."""
        pair = student, teacher
        if self.options["standardise"]:
            pair = map(standardised, pair)
        log_p, log_q = ((at_least_float32(z) / temperature).log_softmax(dim=1) for z in pair)
        return temperature**2 * (log_q.exp() * (log_q - log_p)).sum(dim=1)

    def masks(self, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of images, [B], and of classes, [C]: 0 or 1 if `masked`, else their means."""
        predictions = at_least_float32(teacher).softmax(dim=1)
        scores = predictions.amax(dim=1), predictions.sum(dim=0)
        kept = [(score <= median(score)).to(score.dtype) for score in scores]
        if not self.options["masked"]:
            kept = [mask.mean().expand_as(mask) for mask in kept]
        return kept[0], kept[1]


def median(values: Tensor) -> Tensor:
    """Mean of the two middle values of [R], or the middle one; a scalar."""
    ordered, count = values.sort().values, len(values)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def relations(one: Tensor, other: Tensor) -> Tensor:
    """Σ_j ( ⟨p_i, p_j⟩ − ⟨q_i, q_j⟩ )² of every row i.

    Their mean is ‖P Pᵀ − Q Qᵀ‖²_F / R.

    Args:
        one, other: P and Q, [R, D].
    Returns: [R].
    """
    with torch.autocast(one.device.type, enabled=False):
        return (one @ one.T - other @ other.T).square().sum(dim=1)
