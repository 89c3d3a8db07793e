"""The updates are torch's, bit for bit, without what torch's optimisers bring along."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from xkd.engine.optimisers import Optimiser, like, weight_of
from xkd.methods.base import Group
from xkd.plan.settings import Recipe

PLAIN = Recipe("r", epochs=1, batch=4, lr=0.1)
RECIPES = {
    "decay": replace(PLAIN, weight_decay=5e-4),
    "no decay": PLAIN,
    "no momentum": replace(PLAIN, momentum=0.0, weight_decay=1e-3),
    "nesterov": replace(PLAIN, nesterov=True, weight_decay=5e-4),
    "clipped": replace(PLAIN, clip=0.05),
}


def pair(dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """Two equal networks."""
    torch.manual_seed(0)
    ours, theirs = (nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)).to(dtype) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def equal_after_steps(ours, theirs, optimiser, peers, dtype, clip=None) -> None:
    """Five steps at falling rates, and the same bits in all weights."""
    for step in range(5):
        images = torch.randn(4, 7, dtype=dtype)
        optimiser.rate = 0.1 / (step + 1)
        for network in (ours, theirs):
            network.zero_grad()
            network(images).square().mean().backward()
        optimiser.step()
        if clip is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        for peer in peers:
            for group in peer.param_groups:
                group["lr"] = optimiser.rate * group.get("factor", 1.0)
            peer.step()
    for ours_now, theirs_now in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours_now, theirs_now)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torchs_sgd_to_the_bit(recipe, dtype):
    ours, theirs = pair(dtype)
    optimiser = Optimiser(dict(ours.named_parameters()), {}, recipe, 0.1)
    peer = torch.optim.SGD(
        theirs.parameters(), 0.1, recipe.momentum, weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov, fused=True,
    )  # fmt: skip
    equal_after_steps(ours, theirs, optimiser, [peer], dtype, recipe.clip)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_group_under_adam_takes_torchs_steps_to_the_bit_beside_sgd(dtype):
    """Weight decay is L2, as in torch.optim.Adam; the schedule scales the group's own rate."""
    ours, theirs = pair(dtype)
    group = Group(list(ours[1].parameters()), "adam", lr=1e-3, weight_decay=1e-2)
    recipe = replace(PLAIN, weight_decay=5e-4)
    optimiser = Optimiser(dict(ours.named_parameters()), {}, recipe, 0.1, [group])
    sgd = torch.optim.SGD(theirs[0].parameters(), 0.1, 0.9, weight_decay=5e-4, fused=True)
    adam = torch.optim.Adam(theirs[1].parameters(), weight_decay=1e-2, fused=True)
    adam.param_groups[0]["factor"] = 1e-3 / 0.1
    equal_after_steps(ours, theirs, optimiser, [sgd, adam], dtype)


def test_a_group_may_have_a_weight_decay_of_its_own():
    ours, theirs = pair(torch.float64)
    group = Group(list(ours[0].parameters()), weight_decay=0.0)
    recipe = replace(PLAIN, weight_decay=0.1)
    optimiser = Optimiser(dict(ours.named_parameters()), {}, recipe, 0.1, [group])
    peers = [
        torch.optim.SGD(theirs[part].parameters(), 0.1, 0.9, weight_decay=decay, fused=True)
        for part, decay in ((0, 0.0), (1, 0.1))
    ]
    equal_after_steps(ours, theirs, optimiser, peers, torch.float64)


def test_running_averages_are_taken_over_by_the_next_optimiser():
    ours, theirs = pair(torch.float64)
    weights, moments = dict(ours.named_parameters()), {}
    group = Group(list(ours[1].parameters()), "adam", lr=1e-3)
    peers = [
        torch.optim.SGD(theirs[0].parameters(), 0.1, 0.9, fused=True),
        torch.optim.Adam(theirs[1].parameters(), fused=True),
    ]
    peers[1].param_groups[0]["factor"] = 1e-3 / 0.1
    for _ in range(2):
        optimiser = Optimiser(weights, moments, PLAIN, 0.1, [group])
        equal_after_steps(ours, theirs, optimiser, peers, torch.float64)
    assert {weight_of(name) for name in moments} == weights.keys()


def test_a_stored_average_gets_the_memory_layout_of_its_weight():
    weight = torch.zeros(4, 3, 2, 2).to(memory_format=torch.channels_last)
    stored = torch.randn(4, 3, 2, 2)
    assert torch.equal(like(weight, stored), stored)
    assert like(weight, stored).stride() == weight.stride()
    steps = torch.tensor(3.0)
    copy = like(weight, steps)
    assert torch.equal(copy, steps)
    assert copy is not steps


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_weight_that_the_loss_does_not_reach_stays_where_it_is(optimiser):
    reached, apart = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    recipe = replace(PLAIN, weight_decay=0.1)
    weights, moments = {"reached": reached, "apart": apart}, {"apart": torch.ones(2)}
    groups = [Group([reached, apart], optimiser)]
    update = Optimiser(weights, moments, recipe, 0.1, groups)
    reached.sum().backward()
    update.step()
    assert torch.equal(apart, torch.ones(2))
    step = 0.1 * 1.1 if optimiser == "sgd" else 0.1
    assert torch.allclose(reached, torch.full((2,), 1 - step))
    update.forget_gradients()
    assert reached.grad is None


def test_a_job_does_not_import_torchs_compiler(tmp_path):
    """It takes a second; the demo has two hundred jobs."""
    code = f"""
import sys
from pathlib import Path
from fake_cells import cell, prepared, train
from xkd.plan.runs import Layout
layout = Layout(Path({str(tmp_path)!r}))
prepared(layout)
train(cell("le", (0,), warmup=1), layout)
heavy = {{"torch._dynamo", "sympy", "torchvision", "sklearn", "matplotlib", "pandas"}}
heavy &= sys.modules.keys()
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    support = Path(__file__).parents[1] / "support"
    done = subprocess.run([sys.executable, "-c", code], cwd=support, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
