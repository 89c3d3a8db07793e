"""What is measured on a card: cells that a pretended GPU captures, and bytes by hand."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fake_gpu import pretended

from xkd import bench
from xkd.bench import cuda, rows
from xkd.bench.measuring import PEER, Clock, Effort, Figure, Spread, Target
from xkd.bench.synthetic import MLP, RESNET8, BenchCells, Scale
from xkd.engine.runtime import Runtime
from xkd.errors import Refused

BATCH = 6


@pytest.fixture(scope="module")
def cells() -> BenchCells:
    return BenchCells("cpu", Scale(images=24, scored=8, batch=BATCH))


@pytest.fixture(autouse=True)
def restored():
    """What preparing a process for the engine changes."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def card(monkeypatch):
    """Small cells; graphs are captured by a pretended GPU, and the bandwidth is this machine's."""
    monkeypatch.setattr(cuda, "COPIED", 2**20)
    scale = Scale(images=8, scored=4, batch=4, effort=Effort(rounds=1))
    with pretended(monkeypatch, unless=("loop",)):
        yield BenchCells("cpu", scale)


def test_five_seeds_on_a_card_are_held_against_eager_steps_and_the_bytes(card):
    targets = {
        "float32": Target("five", "loop", "speed", 5),
        "float32 bound": Target("five", "bytes", "cost", 4),
    }
    figures = cuda.five_seeds(RESNET8, card, targets, backend="auto")
    assert list(figures) == list(targets)
    eager, bound = figures.values()
    assert eager.value.median == pytest.approx(eager.peer.median / eager.candidate.median)
    assert bound.value.median == pytest.approx(bound.candidate.median / bound.peer.median)
    assert bound.candidate == eager.candidate


@pytest.mark.parametrize("name", cuda.ROWS)
def test_every_row_of_a_card_measures_its_targets(card, monkeypatch, name):
    monkeypatch.setattr(cuda, "bytes_per_step", lambda *_: 1000)
    row = cuda.ROWS[name]
    here = {name: target for name, target in row.targets.items() if "tf32" not in name}
    measure = partial(row.measure, backend="auto")
    assert measure(card, here).keys() == here.keys()


def test_three_networks_two_methods_and_three_precisions_are_measured_on_a_card():
    lines = [target.ours for row in cuda.ROWS.values() for target in row.targets.values()]
    for network in ("MNIST MLP", "ResNet-8", "ResNet-20"):
        assert {f"{network}, {p}" for p in ("float32", "tf32", "bf16")} <= set(lines)
    assert {"LE(Grad-CAM), ResNet-8, bf16", "KD from a table, ResNet-8, bf16"} <= set(lines)


def test_no_cell_begins_on_a_card_when_the_time_is_over():
    late = BenchCells("cpu", Scale(images=8, scored=4, batch=4), Clock(-1))
    assert cuda.five_seeds(RESNET8, late, cuda.ROWS["resnet8_cell"].targets) == {}
    assert cuda.beside_ce("kd", late, cuda.ROWS["teacher_table_cell"].targets) == {}


def test_sides_of_a_card_take_as_many_turns_as_there_is_time_for():
    clock, turns = SimpleNamespace(over=False), []

    class Side:
        def __init__(self, seconds):
            self.seconds = seconds

        def measure(self, steps):
            turns.append(self.seconds)
            clock.over = len(turns) >= 3
            return self.seconds

    sides = {PEER: Side(3.0), "ours": Side(1.0)}
    assert cuda.in_turn(sides, 3, clock) == {PEER: [3.0, 3.0], "ours": [1.0, 1.0]}
    assert turns == [3.0, 1.0, 1.0, 3.0]


def test_bytes_of_a_step_by_hand(cells):
    resnet = cells.settings("ce", RESNET8)
    outputs = 3 * 16 * 32**2 + 3 * 32 * 16**2 + 3 * 64 * 8**2  # with both projections
    assert cuda.bytes_per_step(cells.network(resnet), resnet) == 14 * 2 * outputs * BATCH
    mlp = cells.settings("ce", MLP)
    weights = 784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10
    assert cuda.bytes_per_step(cells.network(mlp), mlp) == 8 * 4 * weights


def test_copying_counts_bytes_read_and_written():
    assert 1e8 < cuda.copy_bandwidth(torch.device("cpu"), 2**24) < 1e13


def test_a_quick_look_at_a_card_is_kept_until_there_is_a_longer_one(monkeypatch, tmp_path):
    figure = Figure(Spread.of([3.0]), 1, Spread.of([0.3]), Spread.of([0.1]))
    row = rows.Row(lambda cells, targets: {"x": figure}, {"x": Target("ours", "theirs", "speed")})
    monkeypatch.setattr(cuda, "ROWS", {"x": row})
    monkeypatch.setattr(rows, "ROWS", cuda.ROWS)
    monkeypatch.setattr(Runtime, "on_cuda", True)
    monkeypatch.setattr(Runtime, "describe", lambda self: "Some Card 80GB")
    bench.run("cpu", None, True, tmp_path)
    assert "One quick round." in (tmp_path / "some-card-80gb.md").read_text()
    bench.run("cpu", None, False, tmp_path)
    longer = (tmp_path / "some-card-80gb.json").read_bytes()
    bench.run("cpu", None, True, tmp_path)
    assert (tmp_path / "some-card-80gb.json").read_bytes() == longer
    assert (tmp_path / "some-card-80gb-partial.md").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(tmp_path):
    with pytest.raises(Refused, match="needs a CUDA device"):
        bench.run("cuda", None, False, tmp_path)
