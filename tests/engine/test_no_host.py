"""No step waits for the host: every method, in every stage, could be captured on a GPU."""

import no_host
import pytest
import torch

from xkd import explain, methods
from xkd.bench.synthetic import MLP, RESNET8, BenchCells, Scale
from xkd.engine.runtime import Runtime
from xkd.engine.training import Training
from xkd.plan.declarations import known_modules
from xkd.plan.settings import NetworkSettings

BATCH = 6
EXPLANATIONS = [n for n in known_modules("explain") if hasattr(explain.load(n), "all_classes")]


def training(uses: str, stage: int, network: NetworkSettings = RESNET8, **chosen) -> Training:
    cells = BenchCells("cpu", Scale(images=4 * BATCH, scored=8, batch=BATCH))
    return cells.steps(cells.settings(uses, network, **chosen), stage=stage).training


def stages(uses: str) -> list[int]:
    return sorted({epoch.stage for epoch in training(uses, 0).schedule})


def check(training: Training) -> None:
    """One step to warm up, and one that must not reach the host."""
    training.begin_epoch()
    training.rate = training.optimiser.rate = torch.zeros(())
    training.one = torch.ones(())
    step = torch.arange(BATCH), torch.zeros(BATCH, dtype=torch.int64)
    away, step = no_host.moved((training, step))
    away.runtime = Runtime(no_host.DEVICE, "float32")
    with no_host.warming_up():
        away.step(*step)
    with no_host.unreachable():
        assert away.step(*step).device == no_host.DEVICE


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    monkeypatch.setattr(torch, "autocast", no_host.no_autocast)
    yield
    torch.set_flush_denormal(False)  # which the engine sets


@pytest.mark.parametrize("uses", methods.known())
def test_no_step_of_a_method_waits_for_the_host(uses):
    for stage in stages(uses):
        check(training(uses, stage))


@pytest.mark.parametrize("explanation", EXPLANATIONS)
@pytest.mark.parametrize("network", [MLP, RESNET8], ids=lambda network: network.name)
def test_no_explanation_of_all_classes_waits_for_the_host(explanation, network):
    if network is MLP and explanation.startswith("gradcam"):
        pytest.skip("a perceptron has no maps")
    check(training("le", 0, network, explanation=explanation))


@pytest.mark.parametrize(
    ("step", "refused"),
    [
        (lambda there, here: there + torch.ones(3), "reads a tensor of the host"),
        (lambda there, here: here.to(there), "reads a tensor of the host"),
        (
            lambda there, here: there * torch.tensor([1.0, 2.0, 3.0], device=there.device),
            "copies numbers",
        ),
        (lambda there, here: there[there > 0], "nonzero"),
        (lambda there, here: there.sum().item(), "asks the device"),
    ],
    ids=["sum", "copy", "literal", "mask", "item"],
)
def test_what_a_capture_would_refuse_is_found(step, refused):
    here = torch.ones(3)
    there = no_host.moved(here)
    refusals = AssertionError, NotImplementedError  # ours, and those of `meta`
    with no_host.unreachable(), pytest.raises(refusals, match=refused):
        step(there, here)
