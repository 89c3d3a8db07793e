"""Attentive distillation: a surrogate that explains its target (Lee & Kim, Sensors 2021).

Stage `student` distils the target's answers into every level of an attentive student,

    L_S = Σ_l w_l · [ τ² · KL( softmax(T/τ) ‖ softmax(z_l/τ) ) + λ · CE(z_l, c) ],   c = argmax T

with w = 1 for the last level and `lower_levels` for the others. Labels are not needed: the target
is what is explained. Stage `explain` trains the explanation network E through the frozen student S,
with b the blurred x:

    mask   L_E = −ln p_S(c | x⊙E + b⊙(1−E)) + g · p_S(c | x⊙(1−E) + b⊙E)
                 + r · mean(E) + v · TV(E) + h · mean( max(|e| − 4, 0)² ),       E = sigmoid(e)
    rank   L_E = −p_S(c | x⊙m + b⊙(1−m)) + p_S(c | x⊙(1−m)) + v · TV(E)

where m keeps a random share of the pixels, by their order in e: a smooth insertion and deletion
area. No equation of the article survives; all of this is our reading of its sections 3.2 to 3.4.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.errors import Refused
from xkd.losses import (
    at_least_float32,
    attention_map,
    cross_entropy,
    soft_target_loss,
)
from xkd.methods.base import BaseMethod, Batch, BuildContext, Group, Stage, StepOutput
from xkd.networks import Network, Output
from xkd.networks.attentive import AttentiveResNet, Levels
from xkd.perturb import blurred, erased, mixed, total_variation
from xkd.plan.settings import Recipe

BOUND = 4.0  # |e| beyond it is punished: there the sigmoid hardly passes gradient
SOFTNESS = 0.25  # of the masks of `rank`, in standard deviations of e
DARK, BRIGHT = 0.02, 0.9  # a mean of E outside says nothing about the image
CHANCE = 1.25  # times 1/C: a student that agrees more rarely has learnt nothing to explain
HIDES = 2.0  # times the probability that is shown: maps that hide so much are turned inside out
FLAT = 1e-3  # a standard deviation of e below it leaves no order
COLLAPSED = "the explanation network has collapsed"
SGD_RATE, ADAM_RATE = 0.05, 0.003
LOSSES = {
    "mask": ("keep", "drop", "area", "variation", "saturation"),
    "rank": ("insertion", "deletion", "variation"),
}


class Method(BaseMethod):
    OPTIONS: ClassVar = {
        "temperature": {
            "description": "τ, softens student and target alike",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 4.0,
        },
        "lower_levels": {
            "description": "factor of every level's loss but the last's",
            "type": "number",
            "minimum": 0,
            "default": 0.3,
        },
        "perturbed": {
            "description": "after a third of the epochs, half of each batch has parts erased",
            "type": "boolean",
            "default": False,
        },
        "loss": {
            "description": "how the explanation network learns",
            "enum": ["mask", "rank"],
            "default": "mask",
        },
        "explain_epochs": {
            "description": "epochs of the explanation network",
            "type": "integer",
            "minimum": 1,
            "default": 10,
        },
        "explain_lr": {
            "description": "its rate; null: 0.05 for mask (SGD), 0.003 for rank (Adam)",
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "default": None,
        },
    }
    WEIGHTS: ClassVar = {
        "kd": 0.9,
        "ce": 0.1,
        "attention": 0.0,
        "keep": 1.0,
        "drop": 0.5,
        "area": 0.6,
        "variation": 0.02,
        "saturation": 0.1,
        "insertion": 1.0,
        "deletion": 1.0,
    }
    TEACHER: ClassVar = ("ask",)
    FAMILY: ClassVar = "attentive"

    student: AttentiveResNet

    def __init__(self, student: Network, context: BuildContext, options: Mapping[str, Any]) -> None:
        super().__init__(student, context, options)
        self.classes, self.last_epoch = context.classes, 0
        if not isinstance(student, AttentiveResNet):
            raise Refused(
                f"method 'attentive' trains attentive students, found a {type(student).__name__}; "
                "choose a network of family 'attentive'"
            )
        if self.wants("attention"):
            own, theirs = (
                [shape[1:] for shape in shapes[1:]]
                for shapes in (context.student_features, context.teacher_features)
            )
            if own != theirs:
                raise Refused(
                    f"method 'attentive' compares attention stage by stage: maps of the student "
                    f"are {own}, of the target {theirs}; choose networks of one family, or "
                    "weights: {attention: 0}"
                )

    def stages(self, recipe: Recipe) -> list[Stage]:
        """The student under the cell's recipe, then the explanation network under its own."""
        explaining = LOSSES[self.options["loss"]]
        learning = {t: self.weights[t] for t in ("kd", "ce", "attention") if self.wants(t)}
        plain = recipe.epochs // 3 if self.options["perturbed"] else recipe.epochs
        stages = [Stage("student", plain, learning)] if plain else []
        if self.options["perturbed"]:
            stages.append(Stage("perturbed", recipe.epochs - plain, learning))
        weights = {term: self.weights[term] for term in explaining if self.wants(term)}
        own = self._explain_recipe(recipe)
        self.last_epoch = recipe.epochs + own.epochs
        return [*stages, Stage("explain", own.epochs, weights, own)]

    def _explain_recipe(self, recipe: Recipe) -> Recipe:
        """The student's, but for length, rate, and gradients clipped at 1."""
        rate = self.options["explain_lr"] or (ADAM_RATE if self._ranks else SGD_RATE)
        epochs = self.options["explain_epochs"]
        return replace(recipe, name="explain", epochs=epochs, lr=rate, milestones=(), clip=1.0)

    @property
    def _ranks(self) -> bool:
        return self.options["loss"] == "rank"

    def groups(self, stage: str) -> Sequence[Group]:
        """Adam for an explanation network that learns an order."""
        if stage != "explain" or not self._ranks:
            return ()
        return [Group(list(self.trained(stage)), optimiser="adam", weight_decay=0.0)]

    def trained(self, stage: str) -> Iterable[nn.Parameter]:
        explainer = {id(p) for p in self.student.explainer.parameters()}
        chosen = stage == "explain"
        return [p for p in self.student.parameters() if (id(p) in explainer) == chosen]

    def failure(self, stage: str, record: Mapping[str, float]) -> str | None:
        """A student at chance, or a collapsed explanation network: their maps explain nothing."""
        if stage != "explain":
            return None
        if (share := record["agreement"]) < CHANCE / self.classes:
            return f"the student is at chance: it agrees with its target on {100 * share:.0f} %"
        spread, mean = record["spread"], record["intensity"]
        if self._ranks and spread < FLAT:
            return f"{COLLAPSED}: the standard deviation of its maps is {spread:.2g}"
        if not self._ranks and not DARK <= mean <= BRIGHT:
            return f"{COLLAPSED}: the mean of its maps is {mean:.2g}, expected {DARK} to {BRIGHT}"
        if record["epoch"] == self.last_epoch and record["hidden"] > HIDES * record["shown"]:
            return (
                f"{COLLAPSED}: what its maps show has the class with probability "
                f"{record['shown']:.2g}, what they hide with {record['hidden']:.2g}"
            )
        return None

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        images = half_erased(batch.images) if stage == "perturbed" else batch.images
        target = batch.teacher.ask(images)
        if stage == "explain":
            return self._explain(images, target.logits.argmax(1))
        levels = self.student.levels(images)
        classes = target.logits.argmax(1)
        terms = self._distil(levels, target, classes)
        agreement = (levels.logits.argmax(1) == classes).float().mean()
        return StepOutput(levels.logits, terms, {"agreement": agreement})

    def _distil(self, levels: Levels, target: Output, classes: Tensor) -> dict[str, Tensor]:
        logits = self.student.level_logits(levels)
        factors = [self.options["lower_levels"]] * (len(logits) - 1) + [1.0]
        temperature = self.options["temperature"]

        def over_levels(loss: Any) -> Tensor:
            return sum(w * loss(z) for w, z in zip(factors, logits, strict=True))

        terms = {}
        if self.wants("kd"):
            terms["kd"] = over_levels(lambda z: soft_target_loss(z, target.logits, temperature))
        if self.wants("ce"):
            terms["ce"] = over_levels(lambda z: cross_entropy(z, classes))
        if self.wants("attention"):
            pairs = zip(levels.plain, target.features[1:], strict=True)
            terms["attention"] = sum(
                (attention_map(own) - attention_map(theirs.detach())).square().mean()
                for own, theirs in pairs
            )
        return terms

    def _explain(self, images: Tensor, classes: Tensor) -> StepOutput:
        self.student.eval()  # frozen; the explanation network has no mode
        with torch.no_grad():
            levels = self.student.levels(images)
        raw = self.student.explain(levels, classes, images.shape[2:])
        kept = raw.sigmoid()
        loss = self._rank_terms if self._ranks else self._mask_terms
        terms, shown, hidden = loss(images, blurred(images), classes, raw, kept)
        terms["variation"] = total_variation(kept)
        spread = raw.detach().flatten(1).std(dim=1).mean()
        agreement = (levels.logits.argmax(1) == classes).float().mean()
        meters = {
            "agreement": agreement,
            "intensity": kept.detach().mean(),
            "spread": spread,
            "shown": shown.detach().mean(),
            "hidden": hidden.detach().mean(),
        }
        return StepOutput(levels.logits, {t: terms[t] for t in terms if self.wants(t)}, meters)

    def _mask_terms(
        self, images: Tensor, blur: Tensor, classes: Tensor, raw: Tensor, kept: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Terms, and p_S(c) of what the maps show and of what they hide, each [B]."""
        shown = self._log_p(mixed(images, blur, kept), classes)
        hidden = self._log_p(mixed(blur, images, kept), classes).exp()
        terms = {
            "keep": -shown.mean(),
            "drop": hidden.mean(),
            "area": kept.mean(),
            "saturation": (raw.abs() - BOUND).clamp_min(0).square().mean(),
        }
        return terms, shown.exp(), hidden

    def _rank_terms(
        self, images: Tensor, blur: Tensor, classes: Tensor, raw: Tensor, kept: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Likewise; shown and hidden are a random share of the pixels, by their order."""
        masks = soft_order_masks(raw, torch.rand(len(raw), device=raw.device))
        inserted = self._log_p(mixed(images, blur, masks), classes).exp()
        deleted = self._log_p(mixed(images, torch.zeros_like(images), 1 - masks), classes).exp()
        return {"insertion": -inserted.mean(), "deletion": deleted.mean()}, inserted, deleted

    def _log_p(self, images: Tensor, classes: Tensor) -> Tensor:
        """ln p_S(c | image), [B]."""
        log_p = F.log_softmax(at_least_float32(self.student(images).logits), dim=1)
        return log_p.gather(1, classes[:, None])[:, 0]


def soft_order_masks(raw: Tensor, shares: Tensor) -> Tensor:
    """Masks that softly keep the share t of the pixels with the largest values.

        ẽ = (e − mean e) / (std e + 10⁻³),   q = ẽ at place ⌊t·HW⌋, largest first,
        m = sigmoid( (ẽ − q) / ¼ )

    Gradient flows through mean, std and q: otherwise a shift of all of e, which changes no order,
    would lower the loss.

    Args:
        raw: e, [B, H, W].
        shares: t in [0, 1), [B].
    Returns: m, [B, H, W].
    """
    values = at_least_float32(raw).flatten(1)
    centred = values - values.mean(dim=1, keepdim=True)
    centred = centred / (values.std(dim=1, keepdim=True) + 1e-3)
    place = (shares * values.shape[1]).long().clamp(max=values.shape[1] - 1)
    limit = centred.sort(dim=1, descending=True).values.gather(1, place[:, None])
    return ((centred - limit) / SOFTNESS).sigmoid().view_as(raw)


def half_erased(images: Tensor) -> Tensor:
    """A batch whose first half has parts erased; see `perturb.erased`."""
    count = len(images) // 2
    return torch.cat([erased(images[:count]), images[count:]])
