"""The experiment of docs/experiments/gpu_steps.py: its stacked networks are what they stand for."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xkd.networks import resnet

FILE = Path(__file__).resolve().parents[2] / "docs" / "experiments" / "gpu_steps.py"
SEEDS = 3


@pytest.fixture(scope="module")
def experiment():
    spec = spec_from_file_location("gpu_steps", FILE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stacked(experiment, networks: list[nn.Module], way: str) -> nn.Module:
    """The same networks beside each other."""
    made = experiment.Stacked(len(networks), way).double()
    layers = [
        [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
        for network in networks
    ]
    with torch.no_grad():
        for number, (weight, norm) in enumerate(zip(made.weights, made.norms, strict=True)):
            weight.copy_(torch.stack([each[2 * number].weight for each in layers]))
            norm.weight.copy_(torch.cat([each[2 * number + 1].weight for each in layers]))
            norm.bias.copy_(torch.cat([each[2 * number + 1].bias for each in layers]))
        made.head.copy_(torch.stack([network.classifier.weight.T for network in networks]))
        made.bias.copy_(torch.stack([network.classifier.bias for network in networks]))
    return made


@pytest.mark.parametrize("way", ["grouped", "dense", "mixed"])
def test_stacked_networks_compute_what_each_computes_alone(experiment, way):
    torch.manual_seed(0)
    networks = [resnet.build(3, 32, 10, depth=8).double().train() for _ in range(SEEDS)]
    images = torch.randn(SEEDS, 4, 3, 32, 32, dtype=torch.float64)
    labels = torch.randint(10, (4, SEEDS))
    alone = [network(each).logits for network, each in zip(networks, images, strict=True)]
    sum(map(F.cross_entropy, alone, labels.T)).backward()
    together = stacked(experiment, networks, way)
    logits = together(images.movedim(0, 1).flatten(1, 2))
    torch.testing.assert_close(logits, torch.stack(alone, dim=1))
    loss: Tensor = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / 4
    loss.backward()
    first = torch.stack([network.conv1.weight.grad for network in networks])
    torch.testing.assert_close(together.weights[0].grad, first)


def test_every_way_has_a_name_of_its_own(experiment):
    assert len(experiment.ways()) == 23
