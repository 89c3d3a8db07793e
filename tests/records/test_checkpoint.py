"""A run that is stopped anywhere ends in the bits of one that was not."""

import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from fake_cells import RECIPE, cell, files, train

from xkd.engine import job
from xkd.engine.job import CheckpointSchedule
from xkd.engine.stopping import RESUMABLE
from xkd.plan.runs import Layout, Run
from xkd.records import checkpoint
from xkd.records.checkpoint import Checkpoints


@pytest.fixture
def fresh(school, tmp_path):
    """Makes places for runs, beside the data and the teacher of `school`."""

    def make(name: str) -> Layout:
        root = tmp_path / name
        (root / "runs" / "stripes").mkdir(parents=True)
        for shared in ("data", "runs/stripes/teacher8"):
            os.symlink(school.root / shared, root / shared)
        return Layout(root)

    return make


class Killed(BaseException):
    """What a test raises where the power fails."""


def interrupt_after(monkeypatch, steps: int, save: bool) -> None:
    """Let the power fail after so many steps, with or without a checkpoint at that very place."""
    after_step, left = CheckpointSchedule.after_step, [steps]

    def count(saving: CheckpointSchedule) -> None:
        after_step(saving)
        left[0] -= 1
        if left[0] == 0:
            if save:
                saving.save()
            raise Killed

    monkeypatch.setattr(job.CheckpointSchedule, "after_step", count)


# Steps of an epoch: 4. `hint` enters its second stage after step 4, `le` after step 8.
@pytest.mark.parametrize(
    ("uses", "steps"),
    [
        ("ce", 1),
        ("dropout", 6),
        ("le", 7),
        ("le", 9),
        ("hint", 3),
        ("hint", 5),
        ("dml", 6),
        ("crd", 6),
        ("mcl_okd", 3),
        ("ffsd", 6),
    ],
)
@pytest.mark.parametrize("save", [True, False], ids=["mid-epoch", "last epoch end"])
def test_a_resumed_run_ends_in_the_same_bits(fresh, monkeypatch, uses, steps, save):
    settings = cell(uses, (0,), **({"warmup": 2} if uses == "le" else {}))
    whole, broken = fresh("whole"), fresh("broken")
    train(settings, whole)
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps, save)
        with pytest.raises(Killed):
            train(settings, broken, checkpoint_minutes=0)
    train(settings, broken, checkpoint_minutes=0)
    assert files(settings, broken, 0) == files(settings, whole, 0)
    assert not broken.resume(Run(settings.cell, 0)).exists(), "a finished run needs no checkpoint"


def test_a_step_that_was_saved_is_not_trained_again(fresh, monkeypatch):
    settings, layout = cell(seeds=(0,)), fresh("a")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 6, save=True)
        with pytest.raises(Killed):
            train(settings, layout)
    taken = []
    after_step = CheckpointSchedule.after_step
    monkeypatch.setattr(
        job.CheckpointSchedule, "after_step", lambda saving: taken.append(1) or after_step(saving)
    )
    train(settings, layout)
    assert len(taken) == RECIPE.epochs * 4 - 6


def slow_down(monkeypatch, stepped: Path | None = None) -> None:
    """So that a signal arrives in mid-epoch; `stepped` appears after the first step of seed 0."""
    after_step = CheckpointSchedule.after_step

    def slowly(saving: CheckpointSchedule) -> None:
        if stepped and saving.training.seed == 0:
            stepped.touch()
        time.sleep(0.03)
        after_step(saving)

    monkeypatch.setattr(job.CheckpointSchedule, "after_step", slowly)


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def in_process(target):
    """In a process of its own, whose exit status is what `target` returns."""
    process = get_context("fork").Process(target=lambda: os._exit(target() or 0))
    process.start()
    return process


@pytest.mark.parametrize("backend", ["loop", "procs"])
def test_a_job_killed_in_mid_epoch_continues_to_the_same_bits(fresh, monkeypatch, backend):
    settings = cell("dropout", (0, 1))
    whole, broken = fresh("whole"), fresh("broken")
    train(settings, whole)
    options = {"backend": backend, "threads": 2, "checkpoint_minutes": 0}
    with monkeypatch.context() as patch:
        slow_down(patch)
        process = in_process(lambda: train(settings, broken, **options))
        wait_for(broken.resume(Run(settings.cell, 0)).exists)
        process.kill()
        process.join()
    train(settings, broken, **options)
    for seed in (0, 1):
        assert files(settings, broken, seed) == files(settings, whole, seed)


@pytest.mark.parametrize("backend", ["loop", "procs"])
def test_sigterm_leaves_a_checkpoint_and_status_75(fresh, monkeypatch, backend):
    settings = cell("dropout", (0, 1))
    whole, broken = fresh("whole"), fresh("broken")
    train(settings, whole)
    stepped, lock = broken.root / "stepped", broken.cell(settings.cell) / ".resume" / "lock"
    with monkeypatch.context() as patch:
        slow_down(patch, stepped)
        process = in_process(lambda: train(settings, broken, backend=backend, threads=2))
        wait_for(stepped.exists)
        os.kill(process.pid, signal.SIGTERM)
        process.join()
    assert process.exitcode == RESUMABLE == 75
    assert broken.resume(Run(settings.cell, 0)).exists()
    assert not lock.exists(), "the lock is given back"
    train(settings, broken)
    for seed in (0, 1):
        assert files(settings, broken, seed) == files(settings, whole, seed)


def test_a_checkpoint_of_a_gpu_is_set_aside_on_a_cpu(fresh, monkeypatch, capfd):
    """Their random numbers cannot be continued by each other."""
    settings = cell("dropout", (0,))
    whole, moved = fresh("whole"), fresh("moved")
    train(settings, whole)
    path = moved.resume(Run(settings.cell, 0))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, save=True)
        with pytest.raises(Killed):
            train(settings, moved)
    state = checkpoint.read(path)
    assert state.pop("fingerprint").endswith(" on cpu")
    state["random"] = state["random"][:16]  # what a GPU's generator needs
    Checkpoints(path, "a-b on cuda", print).save(state)
    path.with_name(f"{path.name}.previous").unlink()
    train(settings, moved)
    assert "it belongs to code, settings or device a-b on cuda, now" in capfd.readouterr().err
    assert path.with_name(f"{path.name}.stale").exists()
    assert files(settings, moved, 0) == files(settings, whole, 0)


def test_sigint_leaves_a_checkpoint_and_interrupts(fresh, monkeypatch):
    settings, layout = cell(seeds=(0,)), fresh("a")
    after_step = CheckpointSchedule.after_step

    def press(saving: CheckpointSchedule) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        after_step(saving)

    monkeypatch.setattr(job.CheckpointSchedule, "after_step", press)
    with pytest.raises(KeyboardInterrupt):
        train(settings, layout)
    assert layout.resume(Run(settings.cell, 0)).exists()


def test_processes_end_with_the_one_that_started_them(fresh, monkeypatch):
    settings, layout = cell(seeds=(0, 1)), fresh("a")
    slow_down(monkeypatch)
    pids = layout.root / "pids"
    train_seed = job.train_seed

    def noted(*arguments):
        with pids.open("a") as file:
            file.write(f"{os.getpid()}\n")
        train_seed(*arguments)

    monkeypatch.setattr("xkd.engine.backends.procs.train_seed", noted)
    process = in_process(lambda: train(settings, layout, backend="procs", threads=2))
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    process.kill()
    process.join()
    wait_for(lambda: not any(_runs(pid) for pid in pids.read_text().split()))
    assert not layout.resume(Run(settings.cell, 0)).exists(), "an orphan writes nothing"


def _runs(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ------------------------------------------------------------------------------ damaged, foreign


def two_generations(path, fingerprint="a-b"):
    lines = []
    kept = Checkpoints(path, fingerprint, lines.append)
    for epoch in (1, 2):
        kept.save({"epoch": epoch, "weights": torch.arange(4.0)})
    return kept, lines


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    kept, lines = two_generations(tmp_path / "seed0.pt")
    content = bytearray(kept.path.read_bytes())
    content[200] ^= 1
    kept.path.write_bytes(content)
    assert kept.load()["epoch"] == 1
    assert "seed0.pt not used" in lines[0]
    assert "kept as seed0.pt.damaged" in lines[0]


@pytest.mark.parametrize("length", [0, 3, 65, 300])
def test_truncated_checkpoints_start_the_run_afresh(tmp_path, length):
    kept, lines = two_generations(tmp_path / "seed0.pt")
    for path in (kept.path, kept.previous):
        path.write_bytes(path.read_bytes()[:length])
    assert kept.load() is None
    assert len(lines) == 2


def test_a_checkpoint_of_other_code_or_settings_is_set_aside_not_used(tmp_path):
    kept, _ = two_generations(tmp_path / "seed0.pt")
    lines = []
    other = Checkpoints(kept.path, "a-c", lines.append)
    assert other.load() is None
    assert "it belongs to code, settings or device a-b, now a-c" in lines[0]
    aside = kept.path.with_name("seed0.pt.stale")
    assert checkpoint.read(aside)["epoch"] == 2, "nothing is thrown away"


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    kept, _ = two_generations(tmp_path / "seed0.pt")
    monkeypatch.setattr("xkd.files._to_disk", lambda path: (_ for _ in ()).throw(OSError(5)))
    with pytest.raises(OSError, match="5"):
        kept.save({"epoch": 3})
    monkeypatch.undo()
    assert kept.load()["epoch"] == 2
