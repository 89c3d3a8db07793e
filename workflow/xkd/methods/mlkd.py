"""MLKD: two views of every image, their logits compared on several levels (Jin et al. 2023).

    L = 0.1 · [ CE(a_w) + CE(a_s) ]
        + w · [ r · Σ_{T ∈ 𝒯} KL_T(z_w ‖ a_w) + Σ_{T ∈ {T0, 3, 5}} KL_T(z_s ‖ a_s)
                + Σ_{T ∈ {2, 6}} KL_T(z_w ‖ a_w) ]
        + w · r · Σ_T ‖P Pᵀ − Q Qᵀ‖²_F / B + w · r_c · Σ_T ‖Pᵀ P − Qᵀ Q‖²_F / c

What the released code computes, of a weak view w (crop, mirror) and a strong one s
(`xkd.data.strong`); the rest as in `mlkd_weak`. Evidently meant, but not done there: masks that
mask, T = 2 and 6 on the strong view, and its batch and class terms (B23). The official recipe has
480 epochs, as the first release had (B24).
"""

from typing import ClassVar

from xkd.losses import cross_entropy
from xkd.methods import mlkd_weak
from xkd.methods.base import Batch, StepOutput


class Method(mlkd_weak.Method):
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
    TEACHER: ClassVar = ("logits", "strong_logits")
    PASSES: ClassVar = 2
    STRONG_VIEW: ClassVar = True
    WHOLE_BATCH: ClassVar = True

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        weak, strong = (self.student(view).logits for view in (batch.images, batch.strong))
        terms = self.weak_terms(weak, batch.teacher.logits)
        if self.wants("ce"):
            terms["ce"] = cross_entropy(weak, batch.labels) + cross_entropy(strong, batch.labels)
        if self.wants("kd"):
            teacher = batch.teacher.strong_logits.detach()
            strong_temperatures = self.temperatures[:3]  # T0, 3, 5
            terms["kd"] = terms["kd"] + sum(
                self.divergences(strong, teacher, t).mean() for t in strong_temperatures
            )
        return StepOutput(weak, terms)
