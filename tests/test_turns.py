"""Seeds that outnumber the cores take turns of an epoch."""

import os
import signal
import time
from dataclasses import replace

import pytest

from fake_cells import cell, files, prepared, train
from xkd.engine import cell as engine_cell
from xkd.engine.job import Job
from xkd.engine.stopping import RESUMABLE
from xkd.engine.training import Training
from xkd.runs import Layout, Run

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
