"""The update is torch's, bit for bit, without what torch's optimiser brings along."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from xkd.engine.sgd import Sgd
from xkd.plan.settings import Recipe


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 5e-4), (0.9, 0.0), (0.0, 1e-3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torch_to_the_bit(momentum, decay, dtype):
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)).to(dtype)
    theirs = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    weights = dict(ours.named_parameters())
    velocity = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    recipe = Recipe("r", epochs=1, batch=4, lr=0.1, momentum=momentum, weight_decay=decay)
    sgd = Sgd(weights, velocity, recipe, 0.1)
    peer = torch.optim.SGD(theirs.parameters(), 0.1, momentum, weight_decay=decay, fused=True)
    for step in range(5):
        images = torch.randn(4, 7, dtype=dtype)
        sgd.rate = peer.param_groups[0]["lr"] = 0.1 / (step + 1)
        for network, update in ((ours, sgd.step), (theirs, peer.step)):
            network.zero_grad()
            network(images).square().mean().backward()
            update()
    for name, weight in theirs.named_parameters():
        assert torch.equal(weights[name], weight)


def test_a_weight_that_the_loss_does_not_reach_stays_where_it_is():
    reached, apart = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    recipe = Recipe("r", epochs=1, batch=4, lr=0.1, momentum=0.9, weight_decay=0.1)
    velocity = {"reached": torch.zeros(2), "apart": torch.ones(2)}
    sgd = Sgd({"reached": reached, "apart": apart}, velocity, recipe, 0.1)
    reached.sum().backward()
    sgd.step()
    assert torch.equal(apart, torch.ones(2))
    assert torch.allclose(reached, torch.full((2,), 1 - 0.1 * 1.1))
    sgd.forget_gradients()
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
heavy = {{"torch._dynamo", "torchvision", "sklearn", "matplotlib", "pandas"}} & sys.modules.keys()
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
