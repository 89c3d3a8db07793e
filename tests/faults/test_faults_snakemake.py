"""What happens to Snakemake itself, and to the place where it works."""

import contextlib
import json
import os
import pty
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_project import CELL, LOCAL, MANIFEST, Project, wait_for

FILES = ("weights.safetensors", "history.csv", "metrics.json", "predictions.npz", "cell.json")
LOCK = f"results/demo/runs/{CELL}/.resume/lock"
OTHER_RATE = ("--config", "recipes={r_mlp: {lr: 0.03}}", "--")


@pytest.fixture
def expect_the_same(reference: Project, project: Project) -> Callable[[], None]:
    """That the trained cell is what an undisturbed run left."""

    def expect() -> None:
        found, known = project.files(FILES), reference.files(FILES)
        assert len(found) == 2 * (len(FILES) - 1) + 1
        assert found == {name: known[name] for name in found}

    return expect


def trained(project: Project) -> list[int]:
    return [path.stat().st_mtime_ns for path in project.folder.rglob("weights.safetensors")]


def succeed(project: Project, *arguments: str, **where: object) -> str:
    status, printed = project.run(*arguments, **where)
    assert status == 0, printed
    return printed


def test_ctrl_c_leaves_checkpoints_and_the_same_command_continues(
    project: Project, expect_the_same: Callable
) -> None:
    project.hold()
    snakemake = project.start(MANIFEST)
    project.held()
    os.killpg(snakemake.pid, signal.SIGINT)
    status, printed = project.end(snakemake)
    assert status == 1
    assert f"to continue: python -m snakemake --workflow-profile {LOCAL}" in printed
    assert not (project.folder / LOCK).exists()
    project.release()
    succeed(project, MANIFEST)
    assert "seed 0 continues after epoch" in project.log()
    expect_the_same()


def test_a_terminal_that_is_closed_leaves_checkpoints_and_no_lock(
    project: Project, expect_the_same: Callable
) -> None:
    project.hold()
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", LOCAL, "--cores", "2"]
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(project.folder)
        os.environ.pop("PYTHONPATH", None)
        os.execv(sys.executable, [*command, MANIFEST])
    os.set_blocking(terminal, False)

    def waits() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 65536)
        return bool(list(project.folder.glob("held.*")))

    wait_for(waits, project)
    os.close(terminal)
    wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0], project)
    wait_for(lambda: not (project.folder / LOCK).exists(), project)
    project.release()
    succeed(project, MANIFEST)
    assert "seed 0 continues after epoch" in project.log()
    expect_the_same()


def test_after_kill_9_of_snakemake_nobody_writes_beside_the_job_it_left(
    project: Project, expect_the_same: Callable
) -> None:
    project.hold()
    snakemake = project.start(MANIFEST)
    project.held()
    snakemake.kill()
    snakemake.wait()
    orphan = json.loads((project.folder / LOCK).read_text())["pid"]
    status, printed = project.run(MANIFEST)
    assert status == 1
    assert f"Process {snakemake.pid}, a Snakemake that was killed, left its lock" in printed
    assert f"is being written by process {orphan}" in printed
    assert f"end it with `kill {orphan}`" in printed
    project.release()
    wait_for(lambda: not (project.folder / LOCK).exists(), project)
    before = trained(project)
    succeed(project, MANIFEST)
    assert trained(project) == before, "what the orphan finished is not trained again"
    expect_the_same()


def test_kill_9_of_snakemake_and_its_jobs(project: Project, expect_the_same: Callable) -> None:
    project.hold()
    snakemake = project.start(MANIFEST)
    project.held()
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    project.release()
    succeed(project, MANIFEST)
    expect_the_same()


def test_of_two_snakemakes_at_once_the_second_does_nothing(
    project: Project, expect_the_same: Callable
) -> None:
    project.hold()
    first = project.start(MANIFEST)
    project.held()
    status, printed = project.run(MANIFEST)
    assert status != 0
    assert "cannot be locked" in printed
    assert len(list(project.folder.glob("held.*"))) == 1
    project.release()
    assert project.end(first)[0] == 0
    expect_the_same()


def test_a_config_that_is_changed_and_changed_back(
    project: Project, expect_the_same: Callable
) -> None:
    succeed(project, MANIFEST)
    before = trained(project)
    changed = succeed(project, "--dry-run", *OTHER_RATE, MANIFEST)
    assert "Params have changed" in changed
    assert "Nothing to be done" in succeed(project, MANIFEST)
    assert trained(project) == before
    succeed(project, *OTHER_RATE, MANIFEST)
    assert trained(project) != before
    succeed(project, MANIFEST)
    expect_the_same()


def test_a_config_changed_in_the_midst_of_training_never_mixes_with_what_was_trained(
    project: Project, expect_the_same: Callable
) -> None:
    project.hold()
    snakemake = project.start(*OTHER_RATE, MANIFEST)
    project.held()
    os.killpg(snakemake.pid, signal.SIGINT)
    project.end(snakemake)
    project.release()
    succeed(project, MANIFEST)
    assert "it belongs to code, settings or device" in project.log()
    assert "continues after epoch" not in project.log()
    expect_the_same()


def test_dates_in_the_future_make_nothing_run_again(project: Project) -> None:
    succeed(project, MANIFEST)
    for path in [*(project.folder / "results").rglob("*"), project.folder / "config.yaml"]:
        later = path.stat().st_mtime + 365 * 86400
        os.utime(path, (later, later))
    assert "Nothing to be done" in succeed(project, MANIFEST)
    manifest = project.folder / "results/demo/data/digits/manifest.json"
    os.utime(manifest)
    assert "Nothing to be done" in succeed(project, MANIFEST)


def test_without_any_environment_variable_but_the_path(
    project: Project, expect_the_same: Callable
) -> None:
    succeed(project, MANIFEST, environment={"PATH": "/usr/bin:/bin"})
    expect_the_same()


def test_results_in_another_place_behind_a_symbolic_link(
    project: Project, expect_the_same: Callable, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "großer Speicher"
    shutil.move(project.folder / "results", elsewhere)
    (project.folder / "results").symlink_to(elsewhere)
    succeed(project, MANIFEST)
    assert (elsewhere / MANIFEST.removeprefix("results/")).exists()
    assert (project.folder / "results").is_symlink()
    expect_the_same()


def test_a_path_with_spaces_and_foreign_letters(
    project: Project, expect_the_same: Callable
) -> None:
    assert project.folder.name == "ein Projekt é"
    succeed(project, MANIFEST)
    expect_the_same()
