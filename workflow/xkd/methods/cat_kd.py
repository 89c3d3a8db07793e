"""CAT-KD: the class activation maps of all classes are transferred (Guo et al. 2023).

    L = CE(p, y) + β · mean( (pool(CAM_s) − pool(CAM_t))² )
    CAM_k = Σ_ch W[k, ch] · F3[ch]      all classes k, signed

These are the maps of Grad-CAM before its ReLU. `pool` averages to 2×2; it commutes with W and is
taken first. The mean runs over batch, classes and positions. β is 0.7, 1.8 or 15 by the pair of
networks (B27). The authors' classifiers have no bias; here the student keeps its own, as in all
methods, and the maps of both leave it out (B26). Gradient reaches W and F3 of the student.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xkd.errors import Refused
from xkd.losses import at_least_float32, cross_entropy, feature_loss, mean_pooled
from xkd.methods.base import BaseMethod, Batch, BuildContext, StepOutput
from xkd.networks import Network


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "pool": {
            "description": "maps are averaged to pool × pool positions",
            "type": "integer",
            "minimum": 1,
            "default": 2,
        },
        "normalise": {
            "description": "scale every class's pooled map to unit length",
            "type": "boolean",
            "default": False,
        },
    }
    WEIGHTS: ClassVar = {"ce": 1.0, "cat": 0.7}
    TEACHER: ClassVar = ("features",)

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        if self.options["normalise"] and self.options["pool"] == 1:
            raise Refused(
                "cat_kd: normalise scales maps of a single position to 1, whatever they are; found "
                "pool: 1, expected 2 or more"
            )
        self.register_buffer("teacher_weight", context.teacher_weight, persistent=False)

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output, terms = self.student(batch.images), {}
        if self.wants("ce"):
            terms["ce"] = cross_entropy(output.logits, batch.labels)
        if self.wants("cat"):
            student = self.maps(output.features[-1], self.student.classifier.weight)
            teacher = self.maps(batch.teacher.features[-1].detach(), self.teacher_weight)
            terms["cat"] = feature_loss(student, teacher)
        return StepOutput(output.logits, terms)

    def maps(self, features: Tensor, weight: Tensor) -> Tensor:
        """Pooled class activation maps, [B, C, pool²].

        Args:
            features: last feature map, [B, channels, h, w].
            weight: of the classifier, [C, channels].
        """
        pooled = mean_pooled(at_least_float32(features), self.options["pool"]).flatten(2)
        with torch.autocast(pooled.device.type, enabled=False):
            maps = weight.to(pooled.dtype) @ pooled
        return F.normalize(maps, dim=2) if self.options["normalise"] else maps
