"""What traces say: locks, logs, checkpoints, queue; and the lines of `xkd status`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from xkd.files import write_json
from xkd.monitor import traces
from xkd.monitor.pipeline import Writer
from xkd.monitor.status import expected, status
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout, Run
from xkd.records import lock
from xkd.records.checkpoint import Checkpoints
from xkd.records.lock import STALE, locked

ROOT = Path(__file__).resolve().parents[2]
CELL = Cell("digits", "mlp1024", "ce")


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The demo, with one table and one figure."""
    given = config.load(ROOT / "config.yaml")
    grid = {"datasets": ["digits"], "networks": ["mlp1024"], "seeds": [0, 1]}
    methods = ["ce", "label_smoothing"]
    return Plan(
        {
            **given,
            "scales": {"demo": {}},
            "experiments": {
                "le_table3": [{**grid, "methods": methods}],
                "le_similarity": [{**grid, "methods": ["le_grad"], "seeds": [0]}],
                "le_warmup": [{**grid, "methods": ["le_grad_input"]}],
            },
            "tables": {name: given["tables"][name] for name in ("le_table3", "le_warmup")},
            "figures": {"le_figure1": given["figures"]["le_figure1"]},
        }
    )


@pytest.fixture
def layout(tmp_path, monkeypatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue, unless a test puts one there
    return Layout(Path("results/demo"))


def row(lines: list[str], rule: str) -> dict[str, int]:
    """A row of the table: state -> number of jobs."""
    numbers = next(line for line in lines if line.startswith(f"{rule} ")).split()[1:]
    return {
        state: int(number)
        for state, number in zip(lines[1].split(), numbers, strict=True)
        if number != "-"
    }


def finish(layout: Layout, cell: Cell, seeds: tuple[int, ...]) -> None:
    layout.cell(cell).mkdir(parents=True, exist_ok=True)
    write_json(layout.manifest(cell), {"runs": {str(seed): {} for seed in seeds}})


def write_log(text: str, rule: str = "train", subject: object = CELL) -> None:
    path = Path(f"logs/demo/{rule}/{subject}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_job_is_counted_once_and_optional_items_are_not(plan, layout):
    assert [row(status(plan, layout), rule) for rule in ("prepare", "search", "train")] == [
        {"waiting": 1},
        {"waiting": 1},
        {"waiting": 3},
    ]
    subjects = [(job.rule, job.subject) for job in expected(plan, layout)]
    assert ("explanations", "digits/mlp1024/le_grad/seed0") in subjects
    assert ("tables", "le_warmup") not in subjects
    assert len(subjects) == len(set(subjects))


def test_a_cell_is_done_when_its_manifest_has_all_seeds(plan, layout):
    finish(layout, CELL, (0,))
    assert row(status(plan, layout), "train") == {"waiting": 3}
    finish(layout, CELL, (0, 1))
    assert row(status(plan, layout), "train") == {"done": 1, "waiting": 2}


def test_a_refused_job_has_failed_and_its_last_words_are_told_with_the_log(plan, layout):
    write_log(f"{CELL}: training seeds 0, 1 by loop\nxkd train: cell c: 1 of 2 seeds failed\n")
    lines = status(plan, layout)
    assert row(lines, "train") == {"failed": 1, "waiting": 2}
    assert lines[-1] == (
        f"failed: train {CELL}: cell c: 1 of 2 seeds failed  [logs/demo/train/{CELL}.log]"
    )


def test_a_traceback_tells_its_last_line(plan, layout):
    write_log('Traceback (most recent call last):\n  File "x"\nKeyError: 3\n')
    assert "KeyError: 3" in status(plan, layout)[-1]


def write_progress(layout: Layout, cell: Cell, **changed: object) -> None:
    """The file that a job leaves beside its lock: seed 0 is done, seed 1 has 6 epochs to go."""
    content = {
        "seeds": [0, 1],
        "of": 2,
        "epochs": {"0": [8, 8], "1": [2.25, 8]},
        "scores": {},
        "left": 12.0,
        "at": time.time(),
    }
    path = layout.progress(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **changed}))


def test_a_job_that_trains_tells_who_and_how_far_it_is(plan, layout):
    write_progress(layout, CELL)
    with locked(layout.lock(CELL), "cell"):
        lines = status(plan, layout)
    assert row(lines, "train") == {"running": 1, "waiting": 2}
    assert f"1 of 2 seeds done, seed 1 epoch 2.25/8, 12 s left, process {os.getpid()}" in lines[-1]


def test_time_left_goes_on_while_nothing_is_written(layout):
    write_progress(layout, CELL, left=600.0, at=time.time() - 100)
    assert traces.progress(layout.progress(CELL)).left == pytest.approx(500, abs=5)
    write_progress(layout, CELL, left=60.0, at=time.time() - 100)
    assert traces.progress(layout.progress(CELL)).left == 0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"epochs": 3}',
        '{"seeds": [0], "of": 1, "epochs": {"a": [1, 2]}}',
        "[" * 9999,
    ],
)
def test_a_damaged_progress_file_tells_nothing_and_stops_nothing(plan, layout, content):
    write_progress(layout, CELL)
    layout.progress(CELL).write_text(content)
    assert traces.progress(layout.progress(CELL)) is None
    with locked(layout.lock(CELL), "cell"):
        assert row(status(plan, layout), "train") == {"running": 1, "waiting": 2}


def test_a_progress_file_of_a_dead_job_is_not_running(plan, layout):
    write_progress(layout, CELL)
    assert row(status(plan, layout), "train") == {"waiting": 3}


def test_whether_a_lock_counts_is_judged_as_by_those_who_take_it(tmp_path, monkeypatch):
    """One judgement: a process number that is used again does not keep a dead lock alive."""
    path = tmp_path / "lock"
    with locked(path, "cell"):
        assert traces.holder(path)["pid"] == os.getpid()
        content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "started": "another time"}))
    assert traces.holder(path) is None
    monkeypatch.setattr(lock, "alive", lambda holder, age: "judged elsewhere")
    assert traces.holder(path)["pid"] == os.getpid()


def test_the_lock_of_a_dead_process_is_void(tmp_path):
    path = tmp_path / "lock"
    code = "import os; from xkd.records.lock import Lock; from pathlib import Path; "
    code += f"Lock(Path({str(path)!r}), 'cell').acquire(); os._exit(0)"
    environment = {"PYTHONPATH": str(ROOT / "workflow")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert path.exists()
    assert traces.holder(path) is None


def test_a_lock_of_another_machine_counts_while_it_gives_signs_of_life(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "job": "12"}))
    assert traces.holder(lock)["job"] == "12"
    os.utime(lock, (0, time.time() - STALE - 1))
    assert traces.holder(lock) is None


def test_a_stopped_job_tells_where_its_checkpoints_continue(plan, layout):
    write_log(f"{CELL}: stopped by signal 15; checkpoints are left, the same command continues\n")
    saved = {"epoch": 3, "weights": {"a": torch.ones(4)}, "history": [{"loss": 0.5}]}
    Checkpoints(layout.resume(Run(CELL, 1)), "f", print).save(saved)
    lines = status(plan, layout)
    assert row(lines, "train") == {"stopped": 1, "waiting": 2}
    assert "seed 1 continues after epoch 3" in lines[-1]


def test_a_checkpoint_is_read_without_making_any_object_of_it(tmp_path):
    class Harm:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harmed"),))

    Checkpoints(tmp_path / "seed0.pt", "f", print).save({"epoch": 2, "harm": Harm()})
    assert traces.checkpoint_epoch(tmp_path / "seed0.pt") == 2
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04 rubbish"])
def test_a_damaged_checkpoint_tells_nothing(tmp_path, content):
    (tmp_path / "seed0.pt").write_bytes(content)
    assert traces.checkpoint_epoch(tmp_path / "seed0.pt") is None


def test_jobs_that_snakemake_has_started_are_running_whatever_their_rule(plan, layout):
    writer = Writer(layout)
    writer.begin()
    writer.write(3, 9, [("explanations", "digits/mlp1024/le_grad/seed0"), ("le_table3", "")], 60.0)
    lines = status(plan, layout)
    assert row(lines, "explanations") == {"running": 1}
    assert row(lines, "tables") == {"running": 1, "waiting": 1}
    assert f"Snakemake (process {os.getpid()} on " in lines[0]
    assert "has done 3 of its 9, about 60 s left" in lines[0]
    writer.end()
    assert "running" not in lines[1].split() or "Snakemake" not in status(plan, layout)[0]


def test_the_items_that_need_least_come_next(plan, layout):
    finish(layout, CELL, (0, 1))
    finish(layout, Cell("digits", "mlp1024", "label_smoothing"), (0, 1))
    told = next(line for line in status(plan, layout) if line.startswith("next: "))
    assert told.startswith("next: le_table3 (1 job before it)")  # the search


def test_jobs_in_the_queue_of_slurm_are_recognised_by_folder_and_comment(plan, layout, tmp_path):
    rows = (
        f"7|RUNNING|3:12|None|{tmp_path}|rule_train_wildcards_digits_mlp1024_ce\n"
        f"8|PENDING|0:00|Priority|{tmp_path}|rule_train_wildcards_digits_mlp1024_le_grad\n"
        "9|RUNNING|0:01|None|/another/clone|rule_train_wildcards_digits_mlp1024_label_smoothing\n"
    )
    (tmp_path / "squeue").write_text(f"#!/bin/sh\nprintf '%s' '{rows}'\n")
    (tmp_path / "squeue").chmod(0o755)
    submitted = [("train", f"digits/mlp1024/{name}") for name in ("ce", "le_grad")]
    writer = Writer(layout)
    writer.begin()
    writer.write(0, 9, submitted, None)  # to Snakemake, who was submitted has started
    lines = status(plan, layout)
    writer.end()
    assert row(lines, "train") == {"running": 1, "queued": 1, "waiting": 1}
    assert lines[-2].startswith(f"running: train {CELL}: SLURM job 7, 3:12")
    assert "SLURM job 8: PENDING (Priority)" in lines[-1]


def test_nothing_here_imports_torch():
    code = "import sys, xkd.monitor.status, xkd.monitor.failures; assert 'torch' not in sys.modules"
    environment = {"PYTHONPATH": str(ROOT / "workflow")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
