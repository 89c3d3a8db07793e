"""Seeds that outnumber the cores take turns of an epoch."""

import errno
import os
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from fake_cells import cell, files, prepared, train

from xkd.engine import cell as engine_cell
from xkd.engine import progress
from xkd.engine.backends import procs
from xkd.engine.job import CheckpointSchedule, Job
from xkd.engine.stopping import RESUMABLE
from xkd.engine.training import Training
from xkd.errors import Refused
from xkd.plan.runs import Layout, Run

SEEDS = (0, 1, 2, 3, 4)


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    prepared(layout)
    return layout


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Lets every epoch leave a line `seed epoch began ended`; returns the lines so far."""
    log = tmp_path / "epochs"
    begin_epoch, end_epoch = Training.begin_epoch, Training.end_epoch

    def begin(self, *arguments):
        self.test_began = time.monotonic()
        begin_epoch(self, *arguments)

    def end(self, *arguments):
        time.sleep(0.02)  # long enough for an overlap to show
        end_epoch(self, *arguments)
        with log.open("a") as file:
            file.write(f"{self.seed} {self.epoch} {self.test_began} {time.monotonic()}\n")

    monkeypatch.setattr(Training, "begin_epoch", begin)
    monkeypatch.setattr(Training, "end_epoch", end)

    def lines() -> list[tuple[int, int, float, float]]:
        if not log.exists():
            return []
        rows = [line.split() for line in log.read_text().splitlines()]
        return [(int(seed), int(epoch), float(a), float(b)) for seed, epoch, a, b in rows]

    return lines


def test_no_seed_is_more_than_an_epoch_ahead_and_no_more_work_than_there_are_threads(layout, told):
    settings = cell(seeds=SEEDS)
    train(settings, layout, backend="procs", threads=2)
    rows = told()
    assert len(rows) == 5 * settings.recipe.epochs
    done = dict.fromkeys(SEEDS, 0)
    for seed, epoch, *_ in sorted(rows, key=lambda row: row[3]):
        done[seed] = epoch
        assert max(done.values()) - min(done.values()) <= 2, "two are at work at a time"
    for *_, began, _ in rows:
        assert sum(a <= began < b for *_, a, b in rows) <= 2


def test_where_memory_is_scarce_a_seed_ends_before_the_next_one_begins(layout, told, monkeypatch):
    monkeypatch.setattr(engine_cell.memory, "room", lambda needed, runtime: 0)
    train(cell(seeds=(0, 1, 2, 3)), layout, backend="procs", threads=2)
    rows = told()
    ends = {seed: max(b for s, _, _, b in rows if s == seed) for seed in range(4)}
    begins = {seed: min(a for s, _, a, _ in rows if s == seed) for seed in range(4)}
    for seed, began in begins.items():
        begun = sum(other <= began for other in begins.values())
        ended = sum(other <= began for other in ends.values())
        assert begun - ended <= 2, f"seed {seed} had to wait"


def test_turns_do_not_change_what_a_seed_leaves(layout):
    settings = cell("dropout", SEEDS)
    train(settings, layout, backend="procs", threads=2)
    alone = Layout(layout.root / "alone")
    alone.root.mkdir()
    os.symlink(layout.root / "data", alone.root / "data")
    train(replace(settings, seeds=(4,)), alone, backend="procs")
    assert files(settings, alone, 4) == files(settings, layout, 4)


def test_a_signal_reaches_seeds_that_wait_for_their_turn(layout, told, monkeypatch):
    """It comes when every seed has completed an epoch: three of them are waiting then."""
    settings = cell("dropout", SEEDS)

    def one_each() -> bool:
        return {seed for seed, *_ in told()} == set(SEEDS)

    say, job_of = [], Job.__init__

    def watched(self, *arguments, **options):
        job_of(self, *arguments, **options)
        epoch = self.progress.epoch

        def tell(*event):
            epoch(*event)
            if one_each() and not say:
                say.append("now")
                os.kill(os.getpid(), signal.SIGTERM)

        self.progress.epoch = tell

    with monkeypatch.context() as patch:
        patch.setattr(Job, "__init__", watched)
        assert train(settings, layout, backend="procs", threads=2) == RESUMABLE
    for seed in SEEDS:
        assert layout.resume(Run(settings.cell, seed)).exists()
    train(settings, layout, backend="procs", threads=2)
    continued = [files(settings, layout, seed) for seed in SEEDS]
    whole = Layout(layout.root / "whole")
    whole.root.mkdir()
    os.symlink(layout.root / "data", whole.root / "data")
    train(settings, whole, backend="loop")
    assert [files(settings, whole, seed) for seed in SEEDS] == continued


def children() -> set[int]:
    pid = os.getpid()
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_where_the_system_starts_no_more_processes_seeds_wait_for_those_there_are(
    layout, monkeypatch, capfd
):
    fork, forks = os.fork, []

    def scarce():
        forks.append(None)
        if len(forks) == 3:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return fork()

    settings = cell(seeds=SEEDS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", scarce)
        assert train(settings, layout, backend="procs", threads=2) == 0
    assert "no room for another process" in capfd.readouterr().err
    assert all((layout.run(Run(settings.cell, seed)) / "run.yaml").exists() for seed in SEEDS)


def test_not_even_one_process_is_one_line(layout, monkeypatch):
    def none():
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", none)
        with pytest.raises(Refused, match="no process can be started for seed 0"):
            train(cell(seeds=SEEDS), layout, backend="procs", threads=2)


def test_whatever_breaks_in_the_parent_leaves_no_process_behind(layout, monkeypatch):
    before = children()

    def broken(*event):
        raise RuntimeError("progress broke")

    with monkeypatch.context() as patch:
        patch.setattr(progress.Lines, "epoch", broken)
        with pytest.raises(RuntimeError, match="progress broke"):
            train(cell(seeds=SEEDS), layout, backend="procs", threads=2)
    assert children() <= before


def test_a_process_that_somebody_else_stops_is_no_success(layout, monkeypatch):
    settings = cell("dropout", SEEDS)
    train_seed = procs.train_seed

    def stopped(job, seed):
        if seed == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        train_seed(job, seed)

    with monkeypatch.context() as patch:
        patch.setattr(procs, "train_seed", stopped)
        with pytest.raises(Refused, match=r"1 of 5 seeds failed.*seed 3: its process was stopped"):
            train(settings, layout, backend="procs", threads=2)
    assert train(settings, layout, backend="procs", threads=2) == 0


def test_seeds_may_have_several_threads_each(layout):
    """A process forked after work on two threads would wait for the second for ever."""
    settings = cell(seeds=(0, 1))
    process = get_context("spawn").Process(
        target=train,
        args=(settings, layout),
        kwargs={"backend": "procs", "threads": 2, "threads_per_seed": 2},
    )
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
    assert process.exitcode == 0


def test_waiting_for_a_turn_is_no_time_of_training(layout, monkeypatch):
    """Nor after a stop in mid-epoch."""
    settings, waits = cell("dropout", (0,)), 0.4
    after_step, job_of, steps = CheckpointSchedule.after_step, Job.__init__, []

    def press(saving):
        steps.append(None)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(saving)

    def patient(self, *arguments, **options):
        job_of(self, *arguments, **options)
        self.await_turn = lambda epochs: time.sleep(waits)

    monkeypatch.setattr(CheckpointSchedule, "after_step", press)
    monkeypatch.setattr(Job, "__init__", patient)
    assert train(settings, layout) == RESUMABLE
    assert train(settings, layout) == 0
    timing = (layout.run(Run(settings.cell, 0)) / "timing.csv").read_text().splitlines()[1:]
    assert len(timing) == settings.recipe.epochs
    assert all(float(line.split(",")[1]) < waits for line in timing)
