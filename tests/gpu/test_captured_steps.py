"""Captured steps on a real GPU, held against the CPU in float64."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from fake_cells import RECIPE, SMALL, Fading, again, cell, train
from safetensors.torch import load_file

from xkd import methods
from xkd.engine.job import CheckpointSchedule
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: make test-gpu"),
]

#: Whose random numbers differ between devices; their eager steps on the same GPU are the oracle.
RANDOM = ("attentive", "crd", "cwtm", "dkpp", "dropout", "mcl_okd", "mlkd")


def folder(settings: CellSettings, layout: Layout, seed: int) -> Path:
    return layout.run(Run(settings.cell, seed))


def weights(settings: CellSettings, layout: Layout, seed: int) -> dict[str, torch.Tensor]:
    return load_file(folder(settings, layout, seed) / "weights.safetensors")


def assert_close(found, expected, rtol=1e-7, atol=1e-9) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        named = partial("{}: {}".format, name)
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=atol, msg=named)


@pytest.mark.parametrize("uses", methods.known())
def test_captured_steps_agree_with_the_cpu_in_float64(school, uses):
    """Rates are powers of two: the device has them in float32, the CPU in float64."""
    recipe = replace(RECIPE, epochs=3, milestones=(1,), lr=2**-4, decay=0.5)
    chosen = {"le": {"warmup": 1}, "hint": {"first_lr": 2**-4}, "fsp": {"first_lr": 2**-4}}
    settings = cell(uses, (0, 1), recipe=recipe, **chosen.get(uses, {}))
    train(settings, school, precision="float64", backend="graph")
    assert "backend: graph" in (folder(settings, school, 1) / "run.yaml").read_text()
    by_graph = weights(settings, school, 1)
    again(settings, school)
    train(settings, school, precision="float64", device="cuda" if uses in RANDOM else "cpu")
    assert_close(by_graph, weights(settings, school, 1))


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("uses", methods.known())
def test_every_method_learns_in_every_precision(school, uses, precision):
    """Captured, to the end, with losses that are numbers: a diverged seed is refused."""
    settings = cell(uses, (0, 1))
    train(settings, school, precision=precision, backend="graph")
    card = (folder(settings, school, 1) / "run.yaml").read_text()
    assert "backend: graph" in card
    assert f"precision: {precision}" in card
    again(settings, school)


def test_terms_that_come_and_go_are_told_apart_on_the_device(school, monkeypatch):
    monkeypatch.setattr(methods, "load", lambda name: Fading)
    settings = replace(cell(), method=replace(cell().method, name="fading"))
    path = folder(settings, school, 0) / "history.csv"
    train(settings, school, precision="float64", backend="graph")
    by_graph = path.read_text().splitlines()
    again(settings, school)
    train(settings, school, precision="float64", device="cuda")
    for found, expected in zip(by_graph, path.read_text().splitlines(), strict=True):
        for one, other in zip(found.split(","), expected.split(","), strict=True):
            assert one == other or float(one) == pytest.approx(float(other), rel=1e-6)


def test_seeds_draw_their_own_random_numbers_whoever_shares_the_gpu(school):
    settings = cell("dropout", (0, 1), network=SMALL, rate=0.5)
    train(settings, school, backend="graph", precision="float64")
    together = [weights(settings, school, seed) for seed in (0, 1)]
    again(settings, school)
    train(replace(settings, seeds=(1,)), school, backend="graph", precision="float64")
    alone = weights(settings, school, 1)
    assert_close(together[1], alone, rtol=1e-9, atol=1e-12)
    first = next(iter(alone))
    assert not torch.equal(together[0][first], together[1][first])


@pytest.mark.parametrize("uses", ["dropout", "hint"])
def test_a_stopped_job_continues_where_it_was(school, monkeypatch, uses):
    """In the midst of an epoch; random numbers go on as if nothing had happened."""
    settings, precisely = cell(uses, (5, 6)), {"backend": "graph", "precision": "float64"}
    train(settings, school, **precisely)
    whole = [weights(settings, school, seed) for seed in (5, 6)]
    again(settings, school)
    told, left = CheckpointSchedule.tell, [2 * 6]

    def count(saving):
        told(saving)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointSchedule, "tell", count)
        assert train(settings, school, **precisely) == 75
    assert train(settings, school, **precisely) == 0
    for seed, expected in zip((5, 6), whole, strict=True):
        assert_close(weights(settings, school, seed), expected, rtol=1e-9, atol=1e-12)
