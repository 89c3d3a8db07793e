"""The bench: peers and candidates do the same work, and what is measured is reported as it is."""

import json
import os
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from xkd import bench
from xkd.bench import measuring, peers, report, rows, whole_cells
from xkd.bench.measuring import (
    PEER,
    Apart,
    Effort,
    Figure,
    Spread,
    Target,
    alternate,
    compare,
    in_sessions,
)
from xkd.bench.synthetic import CIFAR10, MLP, MNIST, ORACLE, RESNET8, BenchCells, Scale
from xkd.data.stream import Stream
from xkd.engine.options import EngineOptions
from xkd.engine.teacher import ForwardTeacher, TableTeacher
from xkd.engine.training import Training
from xkd.errors import Refused
from xkd.plan.settings import CellSettings

BRIEF = Effort(seconds=0, rounds=1, per_round=0, sessions=1)
BATCH = 6


@pytest.fixture(scope="module")
def cells() -> BenchCells:
    return BenchCells("cpu", Scale(images=24, scored=8, batch=BATCH, effort=BRIEF))


@pytest.fixture(autouse=True)
def restored():
    """What preparing a process for the engine changes."""
    yield
    torch.set_flush_denormal(False)


# ------------------------------------------------------------------------- peers do the same work


@pytest.mark.parametrize("dataset", [CIFAR10, MNIST])
def test_every_picture_of_the_naive_loader_is_one_of_our_views(cells, dataset):
    images, labels = cells.pictures(dataset)
    naive = peers.Pictures(images, labels, dataset)
    resident = cells.cell_data(dataset, cells.runtime()).train
    torch.manual_seed(3)
    views = torch.arange(dataset.views)
    for index in range(5):
        theirs, label = naive[index]
        ours = resident.view_images(torch.full_like(views, index), views)
        same = (ours - theirs).abs().amax(dim=(1, 2, 3)) < 1e-6
        assert same.sum() == 1
        assert label == labels[index]


def test_the_naive_loader_hands_out_every_picture_once(cells):
    images, labels = cells.pictures(MNIST)
    loaded = list(peers.loader(peers.Pictures(images, labels, MNIST), BATCH))
    assert [len(batch) for batch, _ in loaded] == [BATCH] * 4
    assert torch.cat([batch.sum(dim=(1, 2, 3)) for batch, _ in loaded]).unique().numel() == 24
    torch.testing.assert_close(
        torch.cat([given for _, given in loaded]).sort().values, labels.sort().values
    )


def engine(cells: BenchCells, settings: CellSettings, teacher=None) -> Training:
    """The engine's training of seed 0 in float64, about to take the first step."""
    runtime = cells.runtime("float64")
    cell_data = cells.cell_data(settings.dataset, runtime)
    training = Training(settings, 0, cell_data, teacher, runtime)
    training.begin_epoch()
    return training


def assert_same_steps(training: Training, peer: peers.Vanilla, steps: int = 3) -> None:
    """Both start from the same weights, see the same batches, and end with the same weights."""
    start = training.method.student.state_dict()
    peer.network.load_state_dict({name: value.clone() for name, value in start.items()})
    plan = list(training.order)[:steps]
    for index, view in plan:
        images, labels = training.cell_data.train.batch(index, view)
        training.step(index, view)
        peer(images.clone(), labels)
    theirs = dict(peer.network.named_parameters())
    for name, ours in training.method.student.named_parameters():
        torch.testing.assert_close(ours, theirs[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("network", [RESNET8, MLP])
def test_the_naive_loop_learns_what_the_engine_learns(cells, network):
    settings = cells.settings("ce", network)
    peer = peers.Vanilla(cells.network(settings, seed=5).double(), settings.recipe)
    training = engine(cells, settings)
    assert_same_steps(training, peer)
    assert peer.losses.count == 3 * BATCH
    assert peer.losses.sum / peer.losses.count > 1
    assert 0 <= peer.top1.sum <= peer.top5.sum


@pytest.mark.parametrize(
    ("explanation", "peer", "network"),
    [("gradcam", peers.GradCam, RESNET8), ("grad", peers.InputGradients, MLP)],
)
def test_explanations_by_backward_passes_teach_what_closed_forms_teach(
    cells, explanation, peer, network
):
    settings = cells.settings("le", network, explanation=explanation)
    naive = peer(cells.network(settings, seed=5).double(), settings.recipe)
    assert_same_steps(engine(cells, settings), naive)


def test_grad_cam_is_captums(cells):
    attr = pytest.importorskip("captum.attr")
    network = cells.network(cells.settings("ce")).double().eval()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    naive = peers.GradCam(network, ORACLE)
    network.eval()
    logits = Logits(network)
    captum = attr.LayerGradCam(logits, logits.network.layer3[-1].relu2)
    for target in (0, 7):
        expected = captum.attribute(images, target=target, relu_attributions=True)
        torch.testing.assert_close(naive.attribute(images, target), expected)


class Logits(nn.Module):
    """A network that answers logits alone, as captum expects."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


def test_the_authors_oracle_step_teaches_what_the_table_teaches(cells):
    settings = cells.settings("oracle", recipe=ORACLE, gamma=0.5)
    runtime = cells.runtime("float64")
    teacher = cells.network(settings, seed=9).double().eval()
    asked = ForwardTeacher(teacher, settings.method.needs, settings.dataset, runtime)
    training = engine(cells, settings, table_of(asked, cells, settings))
    published = cells.network(settings, seed=9).double()
    # The authors' gradient is that of a batch mean, and ours of a sample, divided by 64.
    gamma = 0.5 * BATCH / 64
    peer = peers.PublishedOracle(
        cells.network(settings, seed=5).double(), published, settings.recipe, gamma=gamma
    )
    assert_same_steps(training, peer, steps=2)
    assert all(weight.grad is not None for weight in published.parameters()), "not frozen"


def table_of(asked: ForwardTeacher, cells: BenchCells, settings: CellSettings) -> TableTeacher:
    """Exact answers to the views that the first two steps show."""
    train = cells.cell_data(settings.dataset, asked.runtime).train
    logits = torch.full((CIFAR10.views, len(train), 10), float("nan"), dtype=torch.float64)
    for index, view in list(Stream(train, BATCH, 0).epoch(1))[:2]:
        images, labels = train.batch(index, view)
        logits[view, index] = asked.answer(images, labels, index, view).logits
    return TableTeacher(asked.network, logits, torch.arange(len(train)), asked.runtime)


# --------------------------------------------------------------------------------------- the rows


@pytest.mark.parametrize("name", [n for n, r in rows.ROWS.items() if not (r.slow or "20" in n)])
def test_every_row_measures_its_targets(cells, name):
    figures = rows.ROWS[name](cells)
    assert list(figures) == list(rows.ROWS[name].targets)
    for figure in figures.values():
        assert figure.rounds == 1
        assert figure.value.median > 0
        assert figure.peer.median > 0


def test_every_method_has_a_line_and_every_line_a_stage_of_its_own():
    from xkd import methods

    measured = {uses for uses, _, _ in rows.METHODS.values()}
    assert measured | {"ce"} == set(methods.known())


@pytest.mark.parametrize("name", rows.METHODS)
def test_every_line_of_the_methods_times_the_stage_that_it_names(cells, name):
    uses, stage, chosen = rows.METHODS[name]
    steps = cells.steps(cells.settings(uses, **chosen), stage=stage)
    assert steps.training.current.stage == stage
    weights = steps.training.current.weights
    if name.endswith(("first stage", "second stage")):  # they soften predictions in the second
        assert ("kd" in weights) == name.endswith("second stage")


def test_the_extra_time_of_a_method_is_measured_against_cross_entropy(cells):
    target = Target("hint", "CE", "cost")
    figures = rows.every_method(cells, {"hint, second stage": target})
    assert list(figures) == ["hint, second stage"]


def test_a_cell_is_trained_as_a_whole_by_any_backend(cells):
    settings = cells.settings("ce", MLP)
    settings = replace(settings, seeds=(0, 1))
    for backend in ("loop", "procs"):
        watch = whole_cells.Watch()
        whole_cells.train(cells, settings, EngineOptions(backend, device="cpu", threads=2), watch)
        assert {seed: len(ends) for seed, ends in watch.ends.items()} == {0: 2, 1: 2}
        assert watch.seconds_after_first_epoch() > 0


def test_a_cell_apart_is_timed_by_the_wall_and_its_failure_is_reported(cells):
    settings = replace(cells.settings("ce"), seeds=(0,))
    options = EngineOptions("loop", device="cpu")
    assert whole_cells.CellApart(cells, settings, options).measure(1) > 0
    hopeless = replace(settings, recipe=replace(settings.recipe, lr=1e30))
    with pytest.raises(RuntimeError, match="ended with status 1"):
        whole_cells.CellApart(cells, hopeless, options).measure(1)


def test_a_cell_whose_memory_is_read_stops_after_some_steps():
    scale = Scale(images=2000, scored=4, batch=2)  # 1,000 steps: too many for a test
    process = whole_cells.get_context("fork").Process(
        target=whole_cells.train_briefly, args=(scale, 2)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_seconds_after_the_first_epoch_count_what_runs_at_once_only_once():
    watch = whole_cells.Watch()
    watch.ends = {0: [1.0, 2.0, 3.0], 1: [2.5, 4.0], 2: [7.0, 8.0]}
    assert watch.seconds_after_first_epoch() == pytest.approx(3.0 + 1.0)


def test_memory_of_a_family_counts_its_children():
    assert whole_cells.proportional_set(os.getpid()) > 2**20
    process = whole_cells.get_context("fork").Process(target=os.read, args=(os.pipe()[0], 1))
    process.start()
    try:
        assert process.pid in set(whole_cells.family(os.getpid()))
    finally:
        process.kill()
        process.join()
    assert whole_cells.proportional_set(process.pid) == 0


# --------------------------------------------------------------------------------------- measuring


class Scripted:
    """A side that takes as long as it says; `script` is used up turn by turn."""

    def __init__(self, name: str, script: list[float], log: list[str]) -> None:
        self.name, self.script, self.log = name, script, log

    def measure(self, steps: int) -> float:
        self.log.append(self.name)
        return self.script.pop(0)

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


def test_sides_take_turns_in_changing_order_and_the_first_turn_does_not_count():
    log: list[str] = []
    sides = {
        PEER: Scripted(PEER, [9.0, 1.0, 2.0, 3.0], log),
        "ours": Scripted("ours", [9.0, 4.0, 5.0, 6.0], log),
    }
    taken = alternate(sides, Effort(seconds=0, rounds=3, per_round=0.1))
    assert taken == {PEER: [1.0, 2.0, 3.0], "ours": [4.0, 5.0, 6.0]}
    turns = [PEER, "ours", PEER, "ours", "ours", PEER, PEER, "ours"]
    assert log == [*turns, f"{PEER} closed", "ours closed"]


def test_a_short_step_is_repeated_within_a_turn():
    asked = []
    side = SimpleNamespace(measure=lambda steps: asked.append(steps) or 0.01, close=lambda: None)
    alternate({PEER: side}, Effort(seconds=0.5, rounds=2, per_round=0.1))
    assert asked == [1, 10] + [10] * 5


def test_every_session_has_processes_of_its_own(tmp_path):
    def build():
        (tmp_path / str(os.getpid())).touch()
        return lambda: sum(range(1000))

    taken = in_sessions({PEER: build, "ours": build}, Effort(0, rounds=7, per_round=0, sessions=3))
    assert len(list(tmp_path.iterdir())) == 2 * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {PEER: 9, "ours": 9}


def test_ratios_are_taken_within_rounds_and_their_direction_is_the_targets():
    taken = {PEER: [2.0, 4.0, 6.0], "fast": [1.0, 1.0, 2.0], "slow": [3.0, 4.0, 9.0]}
    targets = {
        "fast": Target("a step", "a loop", "speed", 3),
        "slow": Target("a step", "a step", "cost", 1.4),
    }
    figures = compare(taken, targets)
    assert figures["fast"].value == (3.0, 2.5, 3.5)
    assert figures["fast"].peer.median == 4.0
    assert figures["fast"].candidate.median == 1.0
    assert figures["slow"].value == (1.5, 1.25, 1.5)
    assert targets["fast"].met(figures["fast"].value.median) is True
    assert targets["slow"].met(figures["slow"].value.median) is False
    assert Target("a step", "a step", "cost").met(7.0) is None


def test_a_side_apart_leaves_this_process_as_it_is_and_ends_when_closed():
    torch.set_num_threads(1)
    here = torch.randn(3)

    def build():
        torch.set_flush_denormal(True)
        return partial(here.mul_, 2)

    before = here.clone()
    sides = [Apart(build), Apart(build)]
    assert all(side.measure(3) > 0 for side in sides)
    for side in sides:
        side.close()
        assert side._process.exitcode == 0
    assert torch.equal(here, before)
    assert torch.tensor(1e-40) * 1 != 0, "denormals are not flushed here"


def test_a_side_that_dies_is_reported():
    side = Apart(lambda: partial(measuring.gc.__getattribute__, "no such name"))
    with pytest.raises(RuntimeError, match="ended with status 1"):
        side.measure(1)
    side.close()


# ---------------------------------------------------------------------------------------- the files

LINES = [
    report.Line(
        "resnet8_step",
        "float32",
        Target("ResNet-8 step", "naive loop", "speed", 1.5),
        Figure(Spread(1.25, 1.2, 1.4), 7, Spread(0.2, 0.19, 0.21), Spread(0.16, 0.15, 0.17)),
    ),
    report.Line("memory", "procs", Target("cell", "all", "memory", 3), Figure(Spread(2, 2, 2), 1)),
    report.Line("methods", "kd", Target("kd step", "CE step", "cost"), Figure(Spread(1, 1, 1), 5)),
]


def test_the_report_says_where_what_and_whether_targets_were_met(cells, tmp_path):
    about = {**report.machine(cells.runtime()), "how": "In turns.", "quick": False}
    report.write(tmp_path, "cpu", about, LINES)
    content = json.loads((tmp_path / "cpu.json").read_text())
    for key in ("date", "device", "processor", "cores", "load", "commit", "versions", "host"):
        assert content[key], key
    first, second, third = content["lines"]
    assert first["target"] == 1.5
    assert first["met"] is False
    assert first["value"] == {"median": 1.25, "low": 1.2, "high": 1.4}
    assert first["ours_s"]["median"] == 0.16
    assert second["met"] is True
    assert third["met"] is None
    page = (tmp_path / "cpu.md").read_text()
    assert (
        "| ResNet-8 step, 160 ms | naive loop, 200 ms | 1.25× [1.20, 1.40] | ≥ 1.5× | missed |"
        in page
    )
    assert "| cell | all | 2.00 GiB | ≤ 3 GiB | met |" in page
    assert "| kd step | CE step | 1.00× [1.00, 1.00] |" in page
    assert content["processor"] in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu.json", "cpu.md"]


def test_the_bench_writes_what_was_asked_for_and_keeps_complete_files(monkeypatch, tmp_path):
    row = rows.Row(lambda cells, targets: {"x": LINES[0].figure}, {"x": LINES[0].target})
    slow = replace(row, slow=True)
    monkeypatch.setattr(rows, "ROWS", {"quick": row, "slow": slow})
    assert bench.run("cpu", None, False, tmp_path) == 0
    whole = (tmp_path / "cpu.json").read_bytes()
    assert [line["row"] for line in json.loads(whole)["lines"]] == ["quick", "slow"]
    assert bench.run("cpu", None, True, tmp_path) == 0
    assert bench.run("cpu", ["slow"], False, tmp_path) == 0
    partial_file = json.loads((tmp_path / "cpu-partial.json").read_text())
    assert [line["row"] for line in partial_file["lines"]] == ["slow"]
    assert (tmp_path / "cpu.json").read_bytes() == whole


def test_what_there_was_no_time_for_is_said(monkeypatch, tmp_path, capsys):
    row = rows.Row(lambda cells, targets: {}, {"x": LINES[0].target})
    monkeypatch.setattr(rows, "ROWS", {"x": row})
    monkeypatch.setattr(rows, "SECONDS", -1)
    bench.run("cpu", None, False, tmp_path)
    assert "x cannot be measured for want of time (x)" in capsys.readouterr().err
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "cpu-partial.json",
        "cpu-partial.md",
    ]


def test_what_the_machine_cannot_tell_is_said_and_left_out(monkeypatch, tmp_path, capsys, cells):
    monkeypatch.setattr(whole_cells.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(whole_cells, "proportional_set", lambda process: 0)
    monkeypatch.setattr(rows, "has_compiler", lambda: False)
    for name in ("five_seeds", "memory", "compiled"):
        assert rows.ROWS[name](cells) == {}
    assert bench.run("cpu", ["memory"], False, tmp_path) == 0
    assert "memory cannot be measured on this machine (5)" in capsys.readouterr().err
    assert json.loads((tmp_path / "cpu-partial.json").read_text())["lines"] == []


def test_a_count_of_operations_is_printed_as_it_is():
    target = Target("captured step", "operations launched", "operations", 60)
    line = report.Line("launches", "ce", target, Figure(Spread.of([61.0]), 1))
    assert report.tabular(line) == "| captured step | operations launched | 61 | ≤ 60 | missed |"


def test_an_unknown_row_is_refused_before_anything_is_measured(tmp_path):
    with pytest.raises(Refused, match="unknown row 'mlp_stepp'; did you mean 'mlp_step'"):
        bench.run("cpu", ["batch", "mlp_stepp"], False, tmp_path)
    assert not any(tmp_path.iterdir())
