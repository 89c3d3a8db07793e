"""Weights rounded to bfloat16 all at once: the bits of autocast, in fewer launches."""

from dataclasses import replace

import fake_cells
import pytest
import torch
from fake_cells import RECIPE, cell, files, train
from torch import nn
from torch.func import functional_call

from xkd.engine.casts import rounded_weights
from xkd.engine.runtime import Runtime
from xkd.plan.runs import Layout, Run


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("school"))
    fake_cells.prepared(layout)
    train(fake_cells.teacher_settings(), layout)
    return layout


@pytest.mark.parametrize("uses", ["ce", "le", "dml", "hint", "kd"])
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


def test_layers_that_autocast_computes_in_bfloat16_are_rounded_and_no_others():
    rounded = rounded_weights(small())
    assert list(rounded) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    for name, weight in small().named_parameters():
        if name in rounded:
            assert torch.equal(rounded[name], weight.bfloat16())
            assert rounded[name].stride() == weight.stride()


def test_gradients_reach_trained_weights_in_float32_and_no_others():
    network = small()
    network[0].weight.requires_grad_(False)
    rounded = rounded_weights(network)
    assert "0.weight" not in rounded
    images = torch.randn(4, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = functional_call(network, rounded, (images,))
    logits.float().square().sum().backward()
    assert network[0].weight.grad is None
    for name in ("0.bias", "3.weight", "3.bias"):
        gradient = network.get_parameter(name).grad
        assert gradient.dtype == torch.float32
        assert gradient.abs().sum() > 0


def test_a_weight_that_the_loss_does_not_reach_has_no_gradient():
    network = small()
    rounded = rounded_weights(network)
    rounded["3.weight"].float().sum().backward()
    assert network[0].weight.grad is None
    assert torch.equal(network[3].weight.grad, torch.ones(3, 8))
    assert rounded_weights(small().requires_grad_(False)) == {}
