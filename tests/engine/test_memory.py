"""How much memory a cell will take, said before it starts."""

import gc
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_cells import NARROW, RECIPE, SMALL, STRIPES, cell, prepared, train

from xkd import networks
from xkd.engine import memory
from xkd.engine.cell_data import CellData
from xkd.engine.memory import Estimate, estimate, require
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.engine.training import Training
from xkd.errors import Refused
from xkd.plan.runs import Layout

RUNTIME = Runtime.of(EngineOptions(device="cpu"))


def test_a_perceptron_keeps_its_input_and_hidden_layers():
    """64 inputs, 16 and 12 units, 4 logits; relu keeps its output, which the next layer shares."""
    settings = cell(network=SMALL)
    weights = 4 * (64 * 16 + 16 + 16 * 12 + 12 + 12 * 4 + 4)
    activations = 4 * RECIPE.batch * (64 + 16 + 12)
    assert estimate(settings, None, 0).seed == 3 * weights + 2 * activations


def test_twice_the_batch_keeps_twice_the_activations():
    small, large = (
        estimate(cell(recipe=replace(RECIPE, batch=batch)), None, 0).seed for batch in (50, 100)
    )
    weights = estimate(cell(recipe=replace(RECIPE, batch=0)), None, 0).seed
    assert large - weights == pytest.approx(2 * (small - weights))


def test_the_largest_batch_of_all_stages_counts():
    """The first stage of `hint` has a recipe of its own, with the cell's batch."""
    teacher = networks.build(NARROW, STRIPES)
    small, large = (
        estimate(cell("hint", recipe=replace(RECIPE, batch=batch)), teacher, 0).seed
        for batch in (10, 40)
    )
    assert large > 3 * small


@pytest.mark.parametrize(
    ("free", "remedy"),
    [(2.6e9, "2 seeds at once would fit"), (1.0e9, "take a smaller batch")],
)
def test_a_cell_that_does_not_fit_is_refused_with_what_would(monkeypatch, free, remedy):
    monkeypatch.setattr(memory, "available", lambda runtime: free)
    with pytest.raises(Refused) as caught:
        require(cell(), Estimate(0.5e9, 1e9), 5, RUNTIME)
    message = str(caught.value)
    assert remedy in message
    assert "needs about 5.1 GiB of memory (0.5 GiB shared, 5 x 0.9 GiB" in message


def test_a_cell_that_fits_or_an_unknown_limit_is_let_through(monkeypatch):
    for free in (5.6e9, None):
        monkeypatch.setattr(memory, "available", lambda runtime, free=free: free)
        require(cell(), Estimate(0.5e9, 1e9), 5, RUNTIME)


@pytest.mark.parametrize("version", memory.CGROUPS, ids=("version 2", "version 1"))
def test_limits_of_jobs_and_containers_count_on_every_level(tmp_path, monkeypatch, version):
    """Of 4 GB in the outer group 3.5 are used, of which 3 are copies of files."""
    own = tmp_path / "own"
    own.write_text(
        f"7:pids:/elsewhere\n{'' if '::' in version.marker else '3:'}"
        f"{version.marker}{'' if '::' in version.marker else ':'}/job/step\n"
    )
    root = tmp_path / "root"
    (root / "job/step").mkdir(parents=True)
    for group, limit, used, files in (
        ("job", "4e9", "3.5e9", "3e9"),
        ("job/step", "9e9", "1e9", "0"),
    ):
        (root / group / version.limit).write_text(f"{limit}\n")
        (root / group / version.used).write_text(f"{used}\n")
        (root / group / "memory.stat").write_text(f"anon 5\n{version.files} {files}\n")
    monkeypatch.setattr(memory, "OWN_CGROUPS", own)
    monkeypatch.setattr(memory, "CGROUPS", (version._replace(root=root),))
    monkeypatch.setattr(memory, "_meminfo", lambda: 64e9)
    assert memory.available(RUNTIME) == 4e9 - 3.5e9 + 3e9
    (root / "job" / version.limit).write_text("max\n")
    assert memory.available(RUNTIME) == 8e9


def test_seeds_begin_as_long_as_half_of_the_memory_holds_them(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda runtime: 9e9)
    assert memory.room(Estimate(0.5e9, 1e9), RUNTIME) == 4
    monkeypatch.setattr(memory, "available", lambda runtime: None)
    assert memory.room(Estimate(0.5e9, 1e9), RUNTIME) > 1000


def test_an_epoch_keeps_one_tensor_however_many_steps_it_has(tmp_path):
    """Small ones that lie between blocks which come and go would let the heap grow for hours."""
    layout, alive = Layout(tmp_path), []
    prepared(layout, train=200)

    class Counted(Training):
        def advance(self) -> None:
            super().advance()
            if self.position % 10 == 0:
                gc.collect()
                alive.append(sum(type(one) is torch.Tensor for one in gc.get_objects()))

    settings = cell(seeds=(0,), network=SMALL, recipe=replace(RECIPE, epochs=2, batch=5))
    runtime = Runtime.of(EngineOptions(device="cpu"))
    cell_data = CellData.of(settings, layout.data("stripes"), runtime)
    training = Counted(settings, 0, cell_data, None, runtime)
    while not training.finished:
        training.begin_epoch()
        while training.position < len(training.batches):
            training.advance()
        training.end_epoch()
    assert len(alive) == 8
    assert max(alive) - min(alive) <= 2


@pytest.mark.slow
def test_two_hundred_epochs_take_the_memory_of_the_second_and_no_more_than_estimated(
    tmp_path, monkeypatch
):
    """Anonymous memory of all processes, shared pages in parts."""
    layout, seen, estimates = Layout(tmp_path), {}, []
    prepared(layout, train=40)
    settings = cell("le", (0, 1, 2, 3, 4), network=SMALL, explanation="grad", warmup=2)
    settings = replace(settings, recipe=replace(RECIPE, epochs=200, batch=10))
    context = multiprocessing.get_context("fork")
    inbound, outbound = context.Pipe(duplex=False)
    require = memory.require

    def note(settings, needed, at_once, runtime):
        estimates.append(needed.total(at_once))
        outbound.send(estimates[-1])
        require(settings, needed, at_once, runtime)

    monkeypatch.setattr(memory, "require", note)
    job = context.Process(
        target=train, args=(settings, layout), kwargs={"backend": "procs", "threads": 5}
    )
    job.start()
    while job.is_alive():
        processes = [job.pid, *children(job.pid)]
        seen[time.monotonic()] = (len(processes), sum(map(anonymous, processes)))
        job.join(0.2)
    assert job.exitcode == 0
    whole = [size for count, size in seen.values() if count == max(c for c, _ in seen.values())]
    early, late = max(whole[: len(whole) // 10 + 2]), max(whole)
    assert late < 1.15 * early
    assert late < inbound.recv()


def children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def anonymous(pid: int) -> float:
    """Bytes of a process's own pages, and its share of those that it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if "Pss_Anon" in line)
    except (OSError, StopIteration):
        return 0.0


def test_free_memory_is_known_on_linux():
    assert 1e8 < memory.available(RUNTIME) < 1e14
