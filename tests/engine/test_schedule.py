"""Which epoch has which learning rate, loss terms and optimiser."""

import math

import pytest

from xkd.engine.schedule import epoch_settings
from xkd.errors import Refused
from xkd.methods.base import Stage
from xkd.plan.settings import Recipe

PAPER = Recipe("r_res", epochs=160, batch=128, lr=0.1, milestones=(80, 120))
FIRST = Recipe("first", epochs=3, batch=8, lr=0.05, milestones=(2,))


def rates(*stages: Stage, recipe: Recipe = PAPER) -> list[float]:
    return [round(epoch.lr, 10) for epoch in epoch_settings(stages, recipe)]


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
    around = epoch_settings([Stage("a", 80, {"ce": 1.0}), own, Stage("b", 80, {"ce": 1.0})], PAPER)
    assert around[79].lr == 0.1
    assert around[83].lr == pytest.approx(0.01), "epoch 81 of the cell's recipe"
    assert [epoch.own for epoch in around[79:84]] == [False, True, True, True, False]
    assert [epoch.recipe.batch for epoch in around[79:84]] == [128, 8, 8, 8, 128]


def test_epochs_are_numbered_through_and_stages_begin_once():
    found = epoch_settings(
        [Stage("a", 2, {"x": 1.0}), Stage("none", 0, {}), Stage("b", 2, {"x": 1.0})], PAPER
    )
    assert [epoch.epoch for epoch in found] == [1, 2, 3, 4]
    assert [epoch.name for epoch in found] == ["a", "a", "b", "b"]
    assert [epoch.first for epoch in found] == [True, False, True, False]


def test_weights_may_change_by_epoch_and_zero_means_not_computed():
    stage = Stage("train", 3, lambda epoch: {"ce": 1.0, "kd": (epoch - 1) / 2})
    assert [epoch.weights for epoch in epoch_settings([stage], PAPER)] == [
        {"ce": 1.0},
        {"ce": 1.0, "kd": 0.5},
        {"ce": 1.0, "kd": 1.0},
    ]


def test_an_epoch_with_nothing_to_learn_from_is_refused():
    with pytest.raises(Refused, match=r"stage 'train' has nothing to learn from at its epoch 2"):
        epoch_settings([Stage("train", 3, lambda epoch: {"ce": float(epoch == 1)})], PAPER)


def test_one_cycle_rises_for_a_third_of_the_epochs_and_falls_to_almost_nothing():
    recipe = Recipe("r", epochs=100, batch=1, lr=1.0, schedule="one_cycle")
    rates = [recipe.lr_at(epoch) for epoch in range(1, 101)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 29 <= peak <= 30
    assert rates[0] == pytest.approx(1 / 25, abs=0.002)
    assert max(rates) == pytest.approx(1, abs=0.002)
    assert rates[-1] < 0.001


def test_a_cosine_falls_from_the_full_rate_to_almost_nothing():
    """0.025 · (1 + cos(π(e − 1) / 300)) for epoch e, of MCL-OKD's recipe."""
    recipe = Recipe("r_mcl", epochs=300, batch=64, lr=0.05, schedule="cosine")
    lr = rates(Stage("train", 300, {"ce": 1.0}), recipe=recipe)
    assert (lr[0], lr[150]) == (0.05, 0.025)
    assert lr[299] == pytest.approx(0.05 * (math.pi / 600) ** 2, rel=1e-4)
    assert lr == sorted(lr, reverse=True)


def test_a_prelude_at_a_constant_rate_keeps_everything_else_of_the_recipe():
    recipe = Recipe("r", epochs=9, batch=8, lr=0.1, schedule="cosine", nesterov=True, clip=1.0)
    own = recipe.constant("hint", 3, 0.02)
    assert rates(Stage("hint", 3, {"hint": 1.0}, own)) == [0.02] * 3
    assert (own.nesterov, own.clip, own.batch) == (True, 1.0, 8)
