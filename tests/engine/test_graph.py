"""The bookkeeping of the graph backend, on a pretended GPU; on a real one: tests/gpu."""

import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
from fake_cells import RECIPE, Fading, again, cell, files, train
from fake_gpu import PretendedCuda, pretended
from torch.multiprocessing.reductions import StorageWeakRef

from xkd import methods
from xkd.data.stream import EpochOrder
from xkd.engine.backends import cuda, graph
from xkd.engine.job import CheckpointSchedule
from xkd.errors import Refused
from xkd.plan.runs import Run

WARM = {"le": {"warmup": 1}}


class Stubborn(PretendedCuda):
    """A device that can capture a few steps only."""

    allowed = 0

    def capture(self, *arguments):
        if type(self).captured >= self.allowed:
            raise graph.Uncapturable("a step cannot be captured as a CUDA graph (for a reason)")
        return super().capture(*arguments)


@pytest.fixture
def pretend(monkeypatch):
    """Within it, cells are trained by graphs on a pretended GPU."""
    return partial(pretended, monkeypatch)


@pytest.mark.parametrize("uses", methods.known())
def test_graphs_compute_what_the_loop_computes(school, pretend, uses):
    recipe = replace(RECIPE, epochs=2, milestones=(1,))
    settings = cell(uses, (0, 1), recipe=recipe, **({"warmup": 1} if uses == "le" else {}))
    with pretend():
        train(settings, school, precision="float64")
    by_graph = [files(settings, school, seed) for seed in (0, 1)]
    again(settings, school)
    train(settings, school, precision="float64")
    assert [files(settings, school, seed) for seed in (0, 1)] == by_graph


@pytest.mark.parametrize("uses", ["ce", "le", "kd"])
def test_graphs_round_weights_to_bfloat16_as_the_loop_does(school, pretend, uses):
    settings = cell(
        uses, (0,), recipe=replace(RECIPE, epochs=2, milestones=(1,)), **WARM.get(uses, {})
    )
    with pretend():
        train(settings, school, precision="bf16")
    by_graph = files(settings, school, 0)
    again(settings, school)
    train(settings, school, precision="bf16")
    assert files(settings, school, 0) == by_graph


def test_a_captured_graph_keeps_what_only_its_body_refers_to():
    seen = torch.arange(3)
    storage = StorageWeakRef(seen.untyped_storage())
    captured = cuda.Captured(graph=None, body=partial(seen.add_, 1))
    del seen
    assert not storage.expired()
    del captured
    assert storage.expired()


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count", [3, 8, 10])
def test_graphs_are_given_every_step_of_an_epoch_as_it_is(count, drop_last):
    order = EpochOrder(torch.arange(count) * 3, torch.arange(count), 4, drop_last)
    steps = graph.SeedGraphs._steps(order)
    assert steps.shape == (len(order), 2, 4)
    for (index, view), found in zip(order, steps, strict=True):
        assert torch.equal(found[:, : len(index)], torch.stack([index, view]))


def test_a_graph_is_captured_once_per_stage_size_and_set_of_terms(school, pretend):
    settings = cell("le", (0, 1), warmup=2)
    with pretend():
        train(settings, school)
        assert PretendedCuda.captured == 2 * (2 * 2 + 1), "seeds x (stages x sizes + scoring)"


def test_terms_that_come_and_go_have_graphs_and_meters_of_their_own(school, pretend, monkeypatch):
    monkeypatch.setattr(methods, "load", lambda name: Fading)
    settings = replace(cell(), method=replace(cell().method, name="fading"))
    with pretend():
        train(settings, school)
        assert PretendedCuda.captured == 2 * (2 * 2 + 1)
    by_graph = files(settings, school, 0)
    again(settings, school)
    train(settings, school)
    assert files(settings, school, 0) == by_graph


@pytest.mark.parametrize("uses", ["dropout", "hint"])
@pytest.mark.parametrize("steps", [3, 4, 6])
def test_a_stopped_job_continues_to_the_same_bits(school, pretend, monkeypatch, uses, steps):
    settings = cell(uses, (5, 6))
    train(settings, school)
    whole = [files(settings, school, seed) for seed in (5, 6)]
    again(settings, school)
    told, left = CheckpointSchedule.tell, [2 * steps]

    def count(saving):
        told(saving)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGTERM)

    with pretend():
        with monkeypatch.context() as patch:
            patch.setattr(CheckpointSchedule, "tell", count)
            assert train(settings, school) == 75
        assert train(settings, school) == 0
    assert [files(settings, school, seed) for seed in (5, 6)] == whole


@pytest.mark.parametrize("allowed", [0, 4, 6, 7])
def test_steps_that_cannot_be_captured_run_one_by_one(school, pretend, monkeypatch, allowed, capfd):
    """From the start, for the second seed only, or from the second stage on."""
    settings = cell("le", (7, 8), warmup=2)
    train(settings, school)
    whole = [files(settings, school, seed) for seed in (7, 8)]
    again(settings, school)
    monkeypatch.setattr(Stubborn, "allowed", allowed)
    with pretend(Stubborn):
        train(settings, school)
    assert "cannot be captured as a CUDA graph (for a reason)" in capfd.readouterr().err
    assert [files(settings, school, seed) for seed in (7, 8)] == whole
    card = (school.run(Run(settings.cell, 7)) / "run.yaml").read_text()
    assert "backend: loop" in card


def test_a_seed_that_fails_leaves_the_others_their_results(school, pretend, monkeypatch):
    class Explodes(methods.load("ce")):
        def forward(self, batch, stage):
            result = super().forward(batch, stage)
            if self.bad:
                result.terms["ce"] = result.terms["ce"] * float("nan")
            return result

        def stages(self, recipe):
            self.bad = torch.initial_seed() == 11
            return super().stages(recipe)

    monkeypatch.setattr(methods, "load", lambda name: Explodes)
    settings = replace(cell(seeds=(10, 11, 12)), method=replace(cell().method, name="explodes"))
    with pretend(), pytest.raises(Refused, match=r"1 of 3 seeds failed.*epoch 1, step 1 of 4"):
        train(settings, school)
    cards = [school.run(Run(settings.cell, seed)) / "run.yaml" for seed in settings.seeds]
    assert [card.exists() for card in cards] == [True, False, True]
