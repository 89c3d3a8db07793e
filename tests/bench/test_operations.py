"""Operations that a captured step launches: how they are counted, and how many there may be."""

import pytest
import torch

from xkd.bench import operations
from xkd.bench.synthetic import MLP, RESNET8, BenchCells, Scale


@pytest.fixture(scope="module")
def cells() -> BenchCells:
    return BenchCells("cpu", Scale(images=8, scored=4, batch=4))


@pytest.fixture(autouse=True)
def restored():
    """What preparing a process for the engine changes."""
    yield
    torch.set_flush_denormal(False)


def test_what_moves_data_counts_and_what_only_looks_does_not():
    weight = torch.randn(3, 3, requires_grad=True)
    with operations.Launches() as launches:
        product = weight.view(9).view(3, 3).t() @ torch.empty(3, 3)  # one
        product.sum().backward()  # the sum, its gradient of ones, the product's
        torch._foreach_add_([torch.empty(2), torch.empty(2)], 1)  # one for both
    assert launches.counts == {"mm": 2, "sum": 1, "ones_like": 1, "_foreach_add_": 1}


@pytest.mark.parametrize("name", operations.TARGETS)
def test_a_captured_step_launches_no_more_operations_than_it_may(cells, name):
    target = operations.TARGETS[name]
    figure = operations.count(cells, {name: target})[name]
    assert target.met(figure.value.median), f"{figure.value.median:.0f}, not {target.bound}"


def test_the_count_does_not_depend_on_the_size_of_the_batch(cells):
    larger = BenchCells("cpu", Scale(images=16, scored=4, batch=8))
    found = [operations.launches(c, c.settings("ce", MLP), "float32") for c in (cells, larger)]
    assert found[0] == found[1]


def test_every_residual_block_adds_its_own_launches_and_no_more(cells):
    """Two convolutions, normalisations and ReLUs with their gradients, and an addition with its."""
    eight, twenty = (operations.STEPS[f"ResNet-{depth}, CE"].most["float32"] for depth in (8, 20))
    assert twenty - eight == 6 * (2 * 6 + 2)


def test_a_step_of_a_network_is_counted_with_its_backward_pass_and_update(cells):
    found = operations.launches(cells, cells.settings("ce", RESNET8), "float32")
    assert found["convolution"] == found["convolution_backward"] == 9
    assert found["native_batch_norm"] == found["native_batch_norm_backward"] == 9
    assert found["_fused_sgd_"] == 1
