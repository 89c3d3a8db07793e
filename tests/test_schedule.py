"""Which epoch has which learning rate, loss terms and optimiser."""

import pytest

from xkd.engine.schedule import turns
from xkd.errors import Refused
from xkd.methods.base import Stage
from xkd.settings import Recipe

PAPER = Recipe("r_res", epochs=160, batch=128, lr=0.1, milestones=(80, 120))
FIRST = Recipe("first", epochs=3, batch=8, lr=0.05, milestones=(2,))


def rates(*stages: Stage, recipe: Recipe = PAPER) -> list[float]:
    return [round(turn.lr, 10) for turn in turns(stages, recipe)]


def test_the_rate_falls_after_the_milestone_not_at_it():
    lr = rates(Stage("train", 160, {"ce": 1.0}))
    assert (lr[0], lr[79], lr[80], lr[119], lr[120], lr[159]) == (
        0.1,
        0.1,
        0.01,
        0.01,
        0.001,
        0.001,
    )


def test_the_schedule_runs_on_through_stages_without_a_recipe():
    two = rates(Stage("warmup", 32, {"ce": 1.0}), Stage("rest", 128, {"ce": 1.0}))
    assert two == rates(Stage("train", 160, {"ce": 1.0}))


def test_a_stage_with_a_recipe_counts_for_itself():
    own = Stage("hint", 3, {"hint": 1.0}, FIRST)
    assert rates(own, Stage("train", 160, {"ce": 1.0}))[:5] == [0.05, 0.05, 0.005, 0.1, 0.1]
    around = turns([Stage("a", 80, {"ce": 1.0}), own, Stage("b", 80, {"ce": 1.0})], PAPER)
    assert around[79].lr == 0.1
    assert around[83].lr == pytest.approx(0.01), "epoch 81 of the cell's recipe"
    assert [turn.own for turn in around[79:84]] == [False, True, True, True, False]
    assert [turn.recipe.batch for turn in around[79:84]] == [128, 8, 8, 8, 128]


def test_epochs_are_numbered_through_and_stages_begin_once():
    found = turns(
        [Stage("a", 2, {"x": 1.0}), Stage("none", 0, {}), Stage("b", 2, {"x": 1.0})], PAPER
    )
    assert [turn.epoch for turn in found] == [1, 2, 3, 4]
    assert [turn.name for turn in found] == ["a", "a", "b", "b"]
    assert [turn.first for turn in found] == [True, False, True, False]


def test_weights_may_change_by_epoch_and_zero_means_not_computed():
    stage = Stage("train", 3, lambda epoch: {"ce": 1.0, "kd": (epoch - 1) / 2})
    assert [turn.weights for turn in turns([stage], PAPER)] == [
        {"ce": 1.0},
        {"ce": 1.0, "kd": 0.5},
        {"ce": 1.0, "kd": 1.0},
    ]


def test_an_epoch_with_nothing_to_learn_from_is_refused():
    with pytest.raises(Refused, match=r"stage 'train' has nothing to learn from at its epoch 2"):
        turns([Stage("train", 3, lambda epoch: {"ce": float(epoch == 1)})], PAPER)
