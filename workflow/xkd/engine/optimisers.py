"""Updates of the weights: torch's own fused SGD and Adam, without its optimisers.

`torch.optim.SGD` imports torch's compiler when it is made: a second per job, as long as some cells
of the demo train. The functions beneath are all that a step needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from xkd.methods.base import Group
from xkd.plan.settings import Recipe

#: Name of a running average -> tensor. Those of an SGD bear the names of their weights, those of an
#: Adam have an ending; what belongs to one weight is found by `weight_of`.
Moments = dict[str, Tensor]
SQUARES, STEPS = ":squares", ":steps"


def weight_of(moment: str) -> str:
    """Name of the weight that a running average belongs to."""
    return moment.partition(":")[0]


def like(weight: Tensor, moment: Tensor) -> Tensor:
    """A copy of a stored running average, beside its weight and in its memory layout."""
    if moment.shape != weight.shape:
        return moment.to(weight.device, copy=True)
    return torch.empty_like(weight, dtype=moment.dtype).copy_(moment)


class Rule(Protocol):
    """Update of some weights. rate: learning rate; a tensor where captured steps read it."""

    def __call__(self, reached: Sequence[str], rate: float | Tensor) -> None: ...


class Sgd:
    """v ← μ·v + g + λ·w, w ← w − rate·v, or w ← w − rate·(g + λ·w + μ·v) with Nesterov.

    Args:
        weights: what is updated, by name.
        moments: v, by the same names; made where they are absent, updated in place.
        recipe: gives μ.
        decay: λ.
    """

    def __init__(
        self, weights: Mapping[str, Parameter], moments: Moments, recipe: Recipe, decay: float
    ) -> None:
        self.weights, self.moments = weights, moments
        self.recipe, self.decay = recipe, decay
        for name, weight in weights.items():
            moments.setdefault(name, torch.zeros_like(weight))

    def __call__(self, reached: Sequence[str], rate: float | Tensor) -> None:
        sgd(
            [self.weights[name] for name in reached],
            [self.weights[name].grad for name in reached],
            [self.moments[name] for name in reached],
            fused=True,
            weight_decay=self.decay,
            momentum=self.recipe.momentum,
            lr=rate,
            dampening=0,
            nesterov=self.recipe.nesterov,
            maximize=False,
        )


class Adam:
    """m ← β₁·m + (1 − β₁)·g, s ← β₂·s + (1 − β₂)·g², w ← w − rate · m̂ / (√ŝ + ε).

    g includes λ·w; m̂ and ŝ are free of their bias towards zero (Kingma & Ba 2015, Alg. 1), with
    torch's β₁ = 0.9, β₂ = 0.999 and ε = 1e-8. Arguments as of `Sgd`.
    """

    def __init__(
        self, weights: Mapping[str, Parameter], moments: Moments, recipe: Recipe, decay: float
    ) -> None:
        self.weights, self.moments, self.decay = weights, moments, decay
        for name, weight in weights.items():
            moments.setdefault(name, torch.zeros_like(weight))
            moments.setdefault(name + SQUARES, torch.zeros_like(weight))
            steps = torch.zeros((), dtype=torch.float32, device=weight.device)
            moments.setdefault(name + STEPS, steps)

    def __call__(self, reached: Sequence[str], rate: float | Tensor) -> None:
        adam(
            [self.weights[name] for name in reached],
            [self.weights[name].grad for name in reached],
            [self.moments[name] for name in reached],
            [self.moments[name + SQUARES] for name in reached],
            [],
            [self.moments[name + STEPS] for name in reached],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=self.decay,
            eps=1e-8,
            maximize=False,
        )


RULES = {"sgd": Sgd, "adam": Adam}


class Optimiser:
    """All updates of a stage: by the recipe, but for the groups that a method sets apart.

    Args:
        weights: what is trained, by name.
        moments: running averages; taken over where they exist, and updated in place.
        groups: of some of the weights.

    Attributes:
        rate: the recipe's learning rate; a tensor on the device where captured steps read it.
    """

    def __init__(
        self,
        weights: Mapping[str, Parameter],
        moments: Moments,
        recipe: Recipe,
        rate: float | Tensor,
        groups: Iterable[Group] = (),
    ) -> None:
        self.weights, self.recipe, self.rate = weights, recipe, rate
        rest, names = dict(weights), {id(weight): name for name, weight in weights.items()}
        self.rules: list[tuple[float, Rule, list[str]]] = []
        for group in groups:
            chosen = {name: rest.pop(name) for name in (names[id(p)] for p in group.parameters)}
            self._add(group, chosen, moments)
        self._add(Group(()), rest, moments)

    def _add(self, group: Group, weights: Mapping[str, Parameter], moments: Moments) -> None:
        recipe = self.recipe
        decay = recipe.weight_decay if group.weight_decay is None else group.weight_decay
        factor = 1.0 if group.lr is None else group.lr / recipe.lr
        rule = RULES[group.optimiser](weights, moments, recipe, decay)
        self.rules.append((factor, rule, list(weights)))

    def forget_gradients(self) -> None:
        for weight in self.weights.values():
            weight.grad = None

    def step(self) -> None:
        """Update every weight that the last backward pass reached."""
        if self.recipe.clip is not None:
            clip_grad_norm_(self.weights.values(), self.recipe.clip)
        for factor, rule, names in self.rules:
            reached = [name for name in names if self.weights[name].grad is not None]
            if reached:
                rule(reached, self.rate if factor == 1.0 else self.rate * factor)
