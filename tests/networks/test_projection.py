"""Shortcuts of few channels, where a CPU's library would write beyond its memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from xkd.networks import resnet

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("channels", "size"), [(8, 64), (3, 56), (8, 112), (8, 33)])
def test_projection_of_few_channels_is_a_convolution_at_every_size(channels, size):
    torch.manual_seed(0)
    ours = resnet.Projection(channels, 16, 2).double()
    plain = nn.Conv2d(channels, 16, 1, 2, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    one, two = (torch.randn(2, channels, size, size, dtype=torch.float64) for _ in range(2))
    two.copy_(one)
    answers = ours(one.requires_grad_()), plain(two.requires_grad_())
    for answer in answers:
        answer.square().sum().backward()
    assert torch.allclose(*answers, rtol=0, atol=1e-14)
    assert torch.allclose(one.grad, two.grad, rtol=0, atol=1e-14)
    assert torch.allclose(ours.weight.grad, plain.weight.grad, rtol=1e-13, atol=0)


def test_small_images_meet_the_plain_convolution_bit_for_bit():
    torch.manual_seed(0)
    ours = resnet.Projection(8, 16, 2)
    images = torch.randn(4, 8, 32, 32)
    plain = nn.functional.conv2d(images, ours.weight, stride=2)
    assert torch.equal(ours(images), plain)


CRASH = """
import torch
from xkd.networks import resnet
torch.set_num_threads(1)
network = resnet.build(3, {size}, 3, depth=8, widths=[8, 16, 32])
network = network.to(memory_format=torch.channels_last)
images = torch.randn(16, 3, {size}, {size}).contiguous(memory_format=torch.channels_last)
for _ in range(4):
    network(images).logits.square().sum().backward()
"""


@pytest.mark.parametrize("size", [56, 64, 112])
def test_networks_of_few_channels_learn_from_pictures(size):
    """In a process of its own: what it guards against is the end of the process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    command = [sys.executable, "-c", CRASH.format(size=size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
