"""The whole training of a run, epoch by epoch, worked out before it starts. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from xkd.errors import Refused
from xkd.plan.settings import Recipe


class StageLike(Protocol):
    """What the schedule reads of `xkd.methods.base.Stage`."""

    name: str
    epochs: int
    recipe: Recipe | None

    def weights_at(self, epoch: int) -> Mapping[str, float]: ...


class EpochSettings(NamedTuple):
    """One epoch.

    epoch:    1-based over the whole training
    stage:    its position among the stages, and `name`
    first:    the first epoch of its stage
    own:      the stage has a recipe and an optimiser of its own
    recipe:   batch size, momentum and weight decay of this epoch
    lr:       learning rate
    weights:  factor of every loss term that is computed and added; none is zero
    """

    epoch: int
    stage: int
    name: str
    first: bool
    own: bool
    recipe: Recipe
    lr: float
    weights: Mapping[str, float]


def epoch_settings(stages: Sequence[StageLike], recipe: Recipe) -> list[EpochSettings]:
    """Every epoch of the stages, in order.

    Stages without a recipe share the cell's: its schedule runs on from one to the next, and counts
    no epoch of a stage that brings its own.

    Raises: Refused if an epoch has no loss term with a factor other than zero.
    """
    planned: list[EpochSettings] = []
    shared = 0  # epochs already trained under the cell's recipe
    for position, stage in enumerate(stages):
        own = stage.recipe is not None
        used = stage.recipe or recipe
        for number in range(1, stage.epochs + 1):
            shared += not own
            weights = {term: factor for term, factor in stage.weights_at(number).items() if factor}
            if not weights:
                raise Refused(
                    f"stage '{stage.name}' has nothing to learn from at its epoch {number}: all "
                    "loss terms have weight 0; raise one of the method's weights"
                )
            planned.append(
                EpochSettings(
                    epoch=len(planned) + 1,
                    stage=position,
                    name=stage.name,
                    first=number == 1,
                    own=own,
                    recipe=used,
                    lr=used.lr_at(number if own else shared),
                    weights=weights,
                )
            )
    return planned
