"""Stochastic gradient descent with momentum: torch's own fused update, without its optimiser.

`torch.optim.SGD` imports torch's compiler when it is made: a second per job, as long as some cells
of the demo train. The function beneath it is all that a step needs.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import Parameter
from torch.optim.sgd import sgd

from xkd.plan.settings import Recipe


class Sgd:
    """v ← μ·v + g + λ·w, w ← w − rate·v, with the recipe's momentum μ and weight decay λ.

    Args:
        weights: what is updated, by name.
        velocity: of each of them, by the same names; updated in place.

    Attributes:
        rate: learning rate; a tensor on the device where captured steps read it.
    """

    def __init__(
        self,
        weights: Mapping[str, Parameter],
        velocity: Mapping[str, Tensor],
        recipe: Recipe,
        rate: float | Tensor,
    ) -> None:
        self.pairs = [(weight, velocity[name]) for name, weight in weights.items()]
        self.recipe, self.rate = recipe, rate

    def forget_gradients(self) -> None:
        for weight, _ in self.pairs:
            weight.grad = None

    def step(self) -> None:
        """Update every weight that the last backward pass reached."""
        reached = [(weight, v) for weight, v in self.pairs if weight.grad is not None]
        sgd(
            [weight for weight, _ in reached],
            [weight.grad for weight, _ in reached],
            [v for _, v in reached],
            fused=True,
            weight_decay=self.recipe.weight_decay,
            momentum=self.recipe.momentum,
            lr=self.rate,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
