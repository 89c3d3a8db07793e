"""CRD: the student's embedding is told from the teacher's of other images (Tian et al. 2020).

    L = CE(p, y) + 0.8 · [ NCE(bank_t → v_s) + NCE(bank_s → v_t) ]  (+ λ · T² · KL, off)

v_s and v_t are linear maps of either network's F4 to 128 numbers of unit length, NCE is that of
`xkd.contrast` with K = 16 384 and τ = 0.07. The student's anchor meets the teacher's bank, and vice
versa: the second term trains nothing but the teacher's map. The two normalisers Z are those of the
very first batch, and stay (B12). Both banks are updated after the weights.

N is the number of images in the split in use (B14), and negatives are drawn anew for every image
and step (B11).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xkd.contrast import Bank, Negatives, contrast_loss, partition, similarities, unit
from xkd.methods import kd
from xkd.methods.base import Batch, BuildContext, StepOutput
from xkd.networks import Network


class Method(kd.Method):
    OPTIONS: ClassVar = {
        "negatives": {
            "description": "K, images of other classes in the list of every image",
            "type": "integer",
            "minimum": 1,
            "default": 16384,
        },
        "contrast_temperature": {
            "description": "τ of the contrast",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.07,
        },
        "width": {
            "description": "length of the compared embeddings",
            "type": "integer",
            "minimum": 1,
            "default": 128,
        },
        "temperature": {
            "description": "T of the term kd, where its weight is not 0",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        },
    }
    WEIGHTS: ClassVar = {"ce": 1.0, "crd": 0.8, "kd": 0.0}
    TEACHER: ClassVar = ("logits", "embedding")
    WHOLE_BATCH: ClassVar = True

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        labels, width = context.train_labels, self.options["width"]
        self.student_head = nn.Linear(context.student_embedding, width)
        self.teacher_head = nn.Linear(context.teacher_embedding, width)
        self.student_bank, self.teacher_bank = (Bank(len(labels), width) for _ in range(2))
        self.negatives = Negatives(labels, self.options["negatives"])
        # Of the student's anchor and of the teacher's; below zero before the first step.
        self.register_buffer("constants", torch.full((2,), -1.0))

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output = self.student(batch.images)
        terms = self.logit_terms(output.logits, batch)
        if self.wants("crd"):
            own = unit(self.student_head(output.embedding))
            theirs = unit(self.teacher_head(batch.teacher.embedding.detach()))
            index = torch.cat([batch.index[:, None], self.negatives(batch.labels)], dim=1)
            terms["crd"] = self.contrast(own, theirs, index)
        return StepOutput(output.logits, terms)

    def contrast(self, student: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
        """NCE(bank_t → v_s) + NCE(bank_s → v_t).

        Args:
            student, teacher: v_s and v_t, [B, width], of unit length.
            index: the image itself and its negatives, [B, K + 1].
        """
        images, temperature = len(self.negatives.labels), self.options["contrast_temperature"]
        crossed = (self.teacher_bank.rows, student), (self.student_bank.rows, teacher)
        numerators = [similarities(*pair, index, temperature) for pair in crossed]
        fresh = torch.stack([partition(each, images) for each in numerators])
        constants = torch.where(self.constants < 0, fresh.to(self.constants.dtype), self.constants)
        self._seen = student.detach(), teacher.detach(), constants
        pairs = zip(numerators, constants, strict=True)
        return sum(contrast_loss(*pair, images) for pair in pairs)

    def after_update(self, batch: Batch) -> None:
        if self.wants("crd"):
            student, teacher, constants = self._seen
            self.student_bank.update(batch.index, student)
            self.teacher_bank.update(batch.index, teacher)
            self.constants.copy_(constants)
