"""Weights rounded to bfloat16 all at once: the bits of autocast, in fewer launches."""

import contextlib
from dataclasses import replace

import pytest
import torch
from fake_cells import RECIPE, cell, files, train
from torch import nn

from xkd.engine.casts import rounded
from xkd.engine.runtime import Runtime
from xkd.plan.runs import Run


@pytest.mark.parametrize("uses", ["ce", "le", "dml", "hint", "kd", "cat_kd", "mcl_okd"])
def test_training_leaves_the_bits_that_autocast_alone_leaves(school, monkeypatch, uses):
    recipe = replace(RECIPE, epochs=2, milestones=(1,))
    settings = cell(uses, (0,), recipe=recipe, **({"warmup": 1} if uses == "le" else {}))
    train(settings, school, precision="bf16")
    at_once = files(settings, school, 0)
    (school.run(Run(settings.cell, 0)) / "run.yaml").unlink()
    monkeypatch.setattr(Runtime, "rounds_at_once", False)
    train(settings, school, precision="bf16")
    assert files(settings, school, 0) == at_once


def small() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def seen(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copies that the layers compute with, by the names of their weights."""
    copies = {}
    with rounded(network):
        for name, layer in network.named_modules():
            if "forward" in vars(layer):
                _, own = layer.forward.args
                copies |= {f"{name}.{weight}": copy for weight, copy in own.items()}
    return copies


def test_layers_that_autocast_computes_in_bfloat16_are_rounded_and_no_others():
    network = small()
    found = seen(network)
    assert list(found) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    for name, copy in found.items():
        weight = network.get_parameter(name)
        assert torch.equal(copy, weight.bfloat16())
        assert copy.stride() == weight.stride()


def test_weights_are_read_as_they_are_and_layers_are_themselves_again_afterwards():
    network = small()
    with contextlib.suppress(ArithmeticError), rounded(network):
        assert network[3].weight.dtype == torch.float32
        raise ArithmeticError("in the midst of a step")
    assert not any("forward" in vars(layer) for layer in network)


def test_gradients_reach_trained_weights_in_float32_and_no_others():
    network = small()
    network[0].weight.requires_grad_(False)
    assert list(seen(network)) == ["0.bias", "3.weight", "3.bias"]
    with torch.autocast("cpu", torch.bfloat16), rounded(network):
        logits = network(torch.randn(4, 1, 4, 4))
    logits.float().square().sum().backward()
    assert network[0].weight.grad is None
    for name in ("0.bias", "3.weight", "3.bias"):
        gradient = network.get_parameter(name).grad
        assert gradient.dtype == torch.float32
        assert gradient.abs().sum() > 0


def test_a_weight_that_the_loss_does_not_reach_has_no_gradient():
    network = small()
    with rounded(network):
        network[3](torch.ones(1, 8, dtype=torch.bfloat16)).float().sum().backward()
    assert network[0].weight.grad is None
    assert torch.equal(network[3].weight.grad, torch.ones(3, 8))
    assert seen(network.requires_grad_(False)) == {}


def test_a_layer_of_a_kind_of_its_own_computes_with_the_copy_too():
    class Doubled(nn.Linear):
        def forward(self, x):
            assert self.weight.dtype == torch.bfloat16
            return super().forward(x) * 2

    layer = Doubled(4, 2)
    x = torch.randn(3, 4).bfloat16()
    with rounded(layer):
        found = layer(x)
    rows = nn.functional.linear(x, layer.weight.bfloat16(), layer.bias.bfloat16())
    assert torch.equal(found, rows * 2)
    assert layer.weight.dtype == torch.float32


def test_a_weight_that_two_layers_share_is_rounded_once():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    found = seen(network)
    assert found["0.weight"] is found["1.weight"]
    assert found["0.bias"] is not found["1.bias"]
