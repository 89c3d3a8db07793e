"""How much memory a cell will take, said before it starts."""

from dataclasses import replace

import pytest

from fake_cells import NARROW, RECIPE, SMALL, STRIPES, cell
from xkd import networks
from xkd.engine import memory
from xkd.engine.memory import Estimate, estimate, require
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.errors import Refused

RUNTIME = Runtime.of(EngineOptions(device="cpu"))


def test_a_perceptron_keeps_its_input_and_hidden_layers():
    """64 inputs, 16 and 12 units, 4 logits; relu keeps its output, which the next layer shares."""
    settings = cell(network=SMALL)
    weights = 4 * (64 * 16 + 16 + 16 * 12 + 12 + 12 * 4 + 4)
    activations = 4 * RECIPE.batch * (64 + 16 + 12)
    assert estimate(settings, None, 0).seed == 3 * weights + 2 * activations


def test_twice_the_batch_keeps_twice_the_activations():
    small, large = (
        estimate(cell(recipe=replace(RECIPE, batch=batch)), None, 0).seed for batch in (50, 100)
    )
    weights = estimate(cell(recipe=replace(RECIPE, batch=0)), None, 0).seed
    assert large - weights == pytest.approx(2 * (small - weights))


def test_the_largest_batch_of_all_stages_counts():
    """The first stage of `hint` has a recipe of its own, with the cell's batch."""
    teacher = networks.build(NARROW, STRIPES)
    small, large = (
        estimate(cell("hint", recipe=replace(RECIPE, batch=batch)), teacher, 0).seed
        for batch in (10, 40)
    )
    assert large > 3 * small


@pytest.mark.parametrize(
    ("free", "remedy"),
    [(2.6e9, "2 seeds at once would fit"), (1.0e9, "take a smaller batch")],
)
def test_a_cell_that_does_not_fit_is_refused_with_what_would(monkeypatch, free, remedy):
    monkeypatch.setattr(memory, "available", lambda runtime: free)
    with pytest.raises(Refused) as caught:
        require(cell(), Estimate(0.5e9, 1e9), 5, RUNTIME)
    message = str(caught.value)
    assert remedy in message
    assert "needs about 5.1 GiB of memory (0.5 GiB shared, 5 x 0.9 GiB" in message


def test_a_cell_that_fits_or_an_unknown_limit_is_let_through(monkeypatch):
    for free in (5.6e9, None):
        monkeypatch.setattr(memory, "available", lambda runtime, free=free: free)
        require(cell(), Estimate(0.5e9, 1e9), 5, RUNTIME)


def test_free_memory_is_known_on_linux():
    assert 1e8 < memory.available(RUNTIME) < 1e14
