"""Two processes on CPUs against one, in float64."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fake_cells
import pandas as pd
import pytest
import torch
from fake_cells import NARROW, RECIPE, SMALL, cell, prepared, teacher_settings, train
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.multiprocessing import spawn

from xkd.__main__ import main
from xkd.engine.backends import choose
from xkd.engine.options import EngineOptions
from xkd.engine.stopping import RESUMABLE
from xkd.engine.training import Training
from xkd.errors import Refused
from xkd.files import read_json
from xkd.networks.base import BatchNorm2d
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings
from xkd.records.checkpoint import read

ROOT = Path(__file__).resolve().parents[2]
EXACT = {"backend": "auto", "precision": "float64"}
#: The last batch of 71 images is one of 11, of which the two processes see six and five.
IMAGES = 71
PATIENCE = 120  # seconds
QUICK = replace(RECIPE, epochs=2, milestones=(1,))
GENTLE = replace(QUICK, lr=0.001)  # without batch norm a ResNet is easily upset
CELLS = {
    "ce": cell("ce", (0, 1), SMALL, QUICK),
    "label_smoothing": cell("label_smoothing", (0,), SMALL, QUICK, true_class=0.9),
    "dropout": cell("dropout", (0, 1), SMALL, QUICK, rate=0.5),
    "kd": cell("kd", (0,), SMALL, QUICK),
    "dkd": cell("dkd", (0,), SMALL, QUICK),
    "oracle": cell("oracle", (0,), SMALL, QUICK, gamma=0.5),
    "le": cell("le", (0,), SMALL, QUICK, explanation="grad"),
    "dml": cell("dml", (0,), SMALL, QUICK),
    "at": cell("at", (0,), NARROW, GENTLE, weights={"ce": 1.0, "at": 1.0}),
    "fitnet": cell("fitnet", (0,), NARROW, GENTLE, weights={"ce": 1.0, "hint": 1.0}),
    "hint": cell("hint", (0,), NARROW, GENTLE, first_lr=0.001),
    "sad": cell("sad", (0,), NARROW, GENTLE, weights={"ce": 1.0, "kd": 0.9, "afd": 1.0}),
}


def frozen_batch_norm(self: nn.Module, x: Tensor) -> Tensor:
    """With running statistics, which stay 0 and 1: each of two processes sees half a batch."""
    shape = [1, -1] + [1] * (x.dim() - 2)
    return x * self.weight.view(shape) + self.bias.view(shape)


def everything(layout: Layout) -> None:
    """Train the teacher and all the cells."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (nn.modules.batchnorm._BatchNorm, BatchNorm2d):
            patch.setattr(kind, "forward", frozen_batch_norm)
        for settings in (teacher_settings(), *CELLS.values()):
            assert train(settings, layout, **EXACT) == 0


def interrupted(layout: Layout) -> None:
    """A signal comes to the last process alone, in the midst of an epoch."""
    settings, steps, advance = CELLS["dropout"], iter(range(1000)), Training.advance

    def nudged(self: Training) -> None:
        advance(self)
        if next(steps) == 6 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "advance", nudged)
        assert train(settings, layout, **EXACT) == RESUMABLE
    if os.environ["RANK"] == "0":
        saved = read(layout.resume(Run(settings.cell, 0)))
        assert (saved["epoch"], saved["position"]) == (1, 3)
    assert train(settings, layout, **EXACT) == 0


def as_torchrun(rank: int, port: int, *layouts: Layout) -> None:
    """One of two processes, with the variables that torchrun sets."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    everything(layouts[0])
    interrupted(layouts[1])


def together(*layouts: Layout) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = spawn(as_torchrun, (port, *layouts), 2, join=False)
    deadline = time.monotonic() + PATIENCE
    while not started.join(timeout=1):  # returns whenever one of them ends
        if time.monotonic() > deadline:
            for process in started.processes:
                process.kill()
            pytest.fail(f"two processes are not done after {PATIENCE} s")


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> list[Layout]:
    """All cells by one process, and by two; one of them by two that are interrupted."""
    made = [Layout(tmp_path_factory.mktemp(name)) for name in ("one", "two", "interrupted")]
    for layout in made:
        prepared(layout, train=IMAGES)
    everything(made[0])
    together(*made[1:])
    return made


def weights(layout: Layout, settings: CellSettings, seed: int) -> dict[str, Tensor]:
    return load_file(layout.run(Run(settings.cell, seed)) / "weights.safetensors")


def history(layout: Layout, settings: CellSettings, seed: int) -> pd.DataFrame:
    return pd.read_csv(layout.run(Run(settings.cell, seed)) / "history.csv")


@pytest.mark.parametrize("name", sorted(set(CELLS) - {"dropout"}))
def test_two_processes_train_as_one(layouts, name):
    for seed in CELLS[name].seeds:
        one, two = (weights(layout, CELLS[name], seed) for layout in layouts[:2])
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-9, atol=1e-12)
        one, two = (history(layout, CELLS[name], seed) for layout in layouts[:2])
        pd.testing.assert_frame_equal(one, two, rtol=1e-6)  # some meters are float32


def test_the_processes_draw_different_random_numbers(layouts):
    one, two = (weights(layout, CELLS["dropout"], 0) for layout in layouts[:2])
    assert any((one[key] - two[key]).abs().max() > 1e-3 for key in one)


def test_a_signal_to_one_stops_all_at_the_same_step_and_the_same_command_continues(layouts):
    for seed in (0, 1):
        once, again = (fake_cells.files(CELLS["dropout"], layout, seed) for layout in layouts[1:])
        assert once == again


def test_what_two_processes_trained_is_not_what_one_would_have(layouts):
    card = (layouts[1].run(Run(CELLS["ce"].cell, 0)) / "run.yaml").read_text()
    assert "backend: ddp" in card
    fingerprints = {
        read_json(layout.manifest(CELLS["ce"].cell))["runs"]["0"]["fingerprint"]
        for layout in layouts[:2]
    }
    assert len(fingerprints) == 2


def test_a_backend_of_one_process_is_refused_under_torchrun():
    with pytest.raises(Refused, match="'graph' trains in one process, and torchrun started 4"):
        choose(EngineOptions(backend="graph"), 1, True, team=4)


def test_only_training_is_shared(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["check"]) == 2
    assert "only `xkd train` shares its work" in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_trains_a_cell_of_the_demo(tmp_path):
    results, cell = ["--results", str(tmp_path)], "digits/mlp256/ce"
    short = ["--set", "recipes.r_mlp.epochs=2", "--set", "seeds=[0]"]
    assert main(["prepare", "digits", *results]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "xkd", "train", cell, *results, *short],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "by ddp (torchrun started 2 processes)" in done.stderr
    found = read_json(tmp_path / "demo" / "runs" / cell / "cell.json")
    assert found["runs"]["0"]["metrics"]["top1"] > 0.5
