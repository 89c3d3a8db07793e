"""Introspective learning (LE = Gu, Wu & Tresp, ACCV 2020): the network explains itself to itself.

After a warm-up on plain labels, every batch is explained for all classes, and the similarity of
each class's explanation to that of the true class becomes a soft target.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from xkd.errors import Refused
from xkd.explain import explain, require_explainable
from xkd.losses import cross_entropy, permute_others, smoothed_targets
from xkd.methods.base import BaseMethod, Batch, BuildContext, Stage, StepOutput
from xkd.networks import Network, Output
from xkd.plan.settings import Recipe
from xkd.similarity import class_similarity, introspective_targets, zero_map_fractions


class Method(BaseMethod):
    """L = CE(p, sg(q)) + λ · CE(p, y), with q of LE, Eq. 6, a constant (A18, A19); LE, Alg. 1.

    `spread` is how q divides 1 − α among the other classes: by "similarity" (LE), by similarity but
    "permuted" anew for every sample and step (LE-Permut; LE, Table 6), or "uniform", a control that
    keeps everything of LE but the explanations.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {
        "explanation": {
            "description": "what is compared between classes; Grad-CAM needs a ResNet (A21, A24)",
            "registry": "explain",
            "unless": {"spread": "uniform"},
            "default": "gradcam",
        },
        "alpha": {
            "description": "target probability of the true class",
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 0.9,
        },
        "warmup": {
            "description": "epochs on plain labels before the first explanation (A20)",
            "type": "integer",
            "minimum": 0,
            "below": "epochs",
        },
        "spread": {
            "description": "how the other classes share 1 - alpha",
            "enum": ["similarity", "permuted", "uniform"],
            "default": "similarity",
        },
        "bfloat16_maps": {
            "description": "explain in bfloat16, as precision bf16 does anyway; an MLP: 2e-5 off",
            "type": "boolean",
            "default": False,
        },
    }
    WEIGHTS: ClassVar[dict[str, float]] = {"explanation": 1.0, "ce": 0.1}

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        if self.options["spread"] != "uniform":
            require_explainable(student, self.options["explanation"])

    def stages(self, recipe: Recipe) -> list[Stage]:
        """Warm-up and introspection; schedule, optimiser and momentum run through both."""
        warmup = self.options["warmup"]
        if warmup >= recipe.epochs:
            raise Refused(
                f"le: warmup takes {warmup} of the {recipe.epochs} epochs of recipe "
                f"'{recipe.name}' and leaves none to learn from explanations; lower warmup"
            )
        introspection = Stage("introspection", recipe.epochs - warmup, self.weights)
        if warmup == 0:
            return [introspection]
        return [Stage("warmup", warmup, {"ce": 1.0}), introspection]

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        output = self.student(batch.images)
        terms = {"ce": cross_entropy(output.logits, batch.labels)}
        if stage == "warmup":
            return StepOutput(output.logits, terms)
        targets, meters = self.targets(output, batch)
        terms["explanation"] = cross_entropy(output.logits, targets)
        return StepOutput(output.logits, terms, meters)

    @torch.no_grad()
    def targets(self, output: Output, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """q, [B, C], and how often explanations were zero; nothing is explained if q is uniform."""
        spread, alpha = self.options["spread"], self.options["alpha"]
        if spread == "uniform":
            return smoothed_targets(batch.labels, output.logits, alpha), {}
        maps = self.maps(output, batch.images)
        true, other = zero_map_fractions(maps, batch.labels)
        targets = introspective_targets(class_similarity(maps, batch.labels), batch.labels, alpha)
        if spread == "permuted":
            targets = permute_others(targets, batch.labels)
        return targets, {"zero_map_true": true, "zero_map_other": other}

    def maps(self, output: Output, images: Tensor) -> Tensor:
        """Explanations, [B, C, P]; `bfloat16_maps` concerns them alone, never their similarity."""
        explanation = self.options["explanation"]
        if not self.options["bfloat16_maps"]:
            return explain(self.student, output, images, explanation)
        with torch.autocast(images.device.type, torch.bfloat16):
            return explain(self.student, output, images, explanation)
