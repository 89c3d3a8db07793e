"""kill -9 at every moment that could matter; the same command then does what is missing."""

import itertools
import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from stages import PUPILS, STAGES, TEACHING, content, table_of, teach

from xkd import files
from xkd.engine import table
from xkd.engine.job import CheckpointSchedule, Job
from xkd.errors import Refused
from xkd.plan.runs import Layout
from xkd.records.checkpoint import Checkpoints


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, owner: object, name: str, *when: str) -> None:
    """From now on this process dies at so many calls whose first path names one of `when`."""
    called, left = getattr(owner, name), itertools.count(1)

    def call(*arguments: object, **named: object) -> object:
        path = str(arguments[-1]) if when else ""
        if all(part in path for part in when) and next(left) == number:
            if when and Path(path).exists() and not path.endswith("/cell.json"):
                os.truncate(path, os.path.getsize(path) // 2)  # as if it were half written
            die()
        return called(*arguments, **named)

    setattr(owner, name, call)


def writing(name: str, number: int = 1) -> Callable[[], None]:
    return lambda: at_call(number, files, "_to_disk", f".{name}.")


#: What is going on when the power fails.
MOMENTS = {
    "start": lambda: at_call(1, Job, "fresh"),
    "first step": lambda: at_call(1, CheckpointSchedule, "after_step"),
    "mid-epoch": lambda: at_call(6, CheckpointSchedule, "after_step"),
    "second seed": lambda: at_call(22, CheckpointSchedule, "after_step"),
    "writing a checkpoint": writing("seed0.pt", 2),
    "between two checkpoints": lambda: at_call(3, os, "replace", "/seed0.pt"),
    "writing weights": writing("weights.safetensors"),
    "writing the history": writing("history.csv", 2),
    "writing predictions": writing("predictions.npz"),
    "writing metrics": writing("metrics.json", 2),
    "writing a run card": writing("run.yaml", 2),
    "card written, checkpoint not yet removed": lambda: at_call(2, Checkpoints, "remove"),
    "writing the cell's manifest": writing("cell.json"),
}


def in_process(moment: Callable[[], None], stage: str, layout: Layout) -> int:
    """Exit status of a process that does a stage, until the moment comes."""

    def work() -> None:
        moment()
        STAGES[stage].run(layout)

    process = get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    return process.exitcode


def finished(layout: Layout) -> dict[Path, int]:
    """Files of complete runs, and when they were written."""
    cards = (layout.root / "runs").rglob("run.yaml")
    return {path: path.stat().st_mtime_ns for card in cards for path in card.parent.iterdir()}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_training_job_that_is_killed(
    moment: str, until: Callable, expect_the_same: Callable
) -> None:
    layout = until("train")
    before = content(layout)
    assert in_process(MOMENTS[moment], "train", layout) == -signal.SIGKILL
    assert before.items() <= content(layout).items(), "nothing that was finished is lost"
    assert not layout.manifest(PUPILS.cell).exists(), "nothing looks finished that is not"
    done = finished(layout)
    assert teach(layout) == 0
    assert not list(layout.root.rglob(".*.part")), "halves of files are swept"
    assert done.items() <= finished(layout).items(), "what was finished is not done again"
    expect_the_same(layout, after="train")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_at_every_one_of_its_writes(
    stage: str, until: Callable, expect_the_same: Callable
) -> None:
    layout = until(stage)
    for number in itertools.count(1):
        status = in_process(lambda n=number: at_call(n, files, "_to_disk", ""), stage, layout)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert number > 1
    expect_the_same(layout, after=stage)


@pytest.mark.parametrize(
    "moment",
    [
        lambda: at_call(7, table, "_answers"),
        lambda: at_call(1, os, "replace", f"{TEACHING}", "/gradient-0.npy"),
    ],
    ids=["in the midst", "header written, table not yet in place"],
)
def test_a_teachers_table_that_is_killed_continues(
    moment: Callable, until: Callable, expect_the_same: Callable, monkeypatch
) -> None:
    layout = until("table")
    assert in_process(moment, "table", layout) == -signal.SIGKILL
    assert not table_of(layout).exists()
    answers, asked = table._answers, []
    monkeypatch.setattr(table, "_answers", lambda *known: asked.append(1) or answers(*known))
    STAGES["table"].run(layout)
    assert len(asked) <= 18 - 6, "views that were answered are not asked again"
    expect_the_same(layout, after="table")


def test_one_of_the_processes_of_a_job_that_is_killed_harms_no_other_seed(
    until: Callable, expect_the_same: Callable, monkeypatch
) -> None:
    layout = until("train")
    after_step = CheckpointSchedule.after_step

    def fatal(keeper: CheckpointSchedule) -> None:
        after_step(keeper)
        if keeper.training.seed == 1 and keeper.training.epoch == 2:
            die()

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointSchedule, "after_step", fatal)
        with pytest.raises(Refused, match=r"1 of 2 seeds failed, .* seed 1: .* by SIGKILL"):
            teach(layout, backend="procs", threads=2)
    done = finished(layout)
    assert any(path.parent.name == "seed0" for path in done)
    teach(layout, backend="procs", threads=2)
    assert done.items() <= finished(layout).items()
    expect_the_same(layout, after="train")
