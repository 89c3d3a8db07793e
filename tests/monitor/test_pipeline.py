"""The lock that a killed Snakemake leaves is removed, and no other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xkd.monitor import pipeline
from xkd.monitor.pipeline import Writer
from xkd.plan.runs import Layout

DIES = "import os, sys; from xkd.monitor.pipeline import Writer; from xkd.plan.runs import Layout; "
DIES += (
    "from pathlib import Path; Writer(Layout(Path(sys.argv[1]))).begin(); os.kill(os.getpid(), 9)"
)


@pytest.fixture
def killed(tmp_path: Path) -> int:
    """The number of a process that was killed as holder of the pipeline's lock and Snakemake's."""
    theirs = tmp_path / "locks"
    theirs.mkdir()
    for name in ("0.input.lock", "0.output.lock"):
        (theirs / name).write_text("results/demo/a\n")
    process = subprocess.Popen([sys.executable, "-c", DIES, tmp_path / "results" / "demo"])
    assert process.wait() == -9
    return process.pid


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "locks").iterdir())


def test_the_lock_of_a_killed_snakemake_is_removed_and_its_process_named(tmp_path, killed):
    assert pipeline.unlock(tmp_path / "results", tmp_path / "locks") == killed
    assert left(tmp_path) == []
    assert pipeline.unlock(tmp_path / "results", tmp_path / "locks") is None


def test_nothing_is_removed_while_another_works_at_any_scale(tmp_path, killed):
    writer = Writer(Layout(tmp_path / "results" / "paper"))
    writer.begin()
    assert pipeline.unlock(tmp_path / "results", tmp_path / "locks") is None
    assert len(left(tmp_path)) == 2
    writer.end()
    assert pipeline.unlock(tmp_path / "results", tmp_path / "locks") == killed


def test_what_is_younger_than_the_last_sign_of_life_belongs_to_somebody_else(tmp_path, killed):
    lock = tmp_path / "results" / "demo" / ".pipeline" / "lock"
    os.utime(lock, (1, 1))
    assert pipeline.unlock(tmp_path / "results", tmp_path / "locks") is None
    assert len(left(tmp_path)) == 2


def test_a_process_of_another_machine_counts_as_dead_once_its_heart_is_still(tmp_path, killed):
    lock = tmp_path / "results" / "demo" / ".pipeline" / "lock"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "host": "elsewhere"}))
    assert pipeline.unlock(tmp_path / "results", tmp_path / "locks") is None  # it beat just now
    assert len(left(tmp_path)) == 2


def test_without_any_lock_there_is_nothing_to_do(tmp_path):
    assert pipeline.unlock(tmp_path / "results", tmp_path / "locks") is None
