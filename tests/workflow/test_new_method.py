"""`xkd new method`: what it writes is checked, trained and compared as it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project, to be added to."""
    folder = tmp_path_factory.mktemp("project")
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=hidden)
    for name in ("config.yaml", "Snakefile"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def xkd(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(folder / "workflow"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xkd", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_new_method_is_trained_by_the_commands_that_are_printed(copy):
    made = xkd(copy, "new", "method", "focal")
    assert made.returncode == 0, made.stderr
    assert "added studies/focal to papers: in config.yaml" in made.stdout
    assert xkd(copy, "check").returncode == 0
    assert "focal_table1 " in xkd(copy, "check").stdout
    assert xkd(copy, "prepare", "digits").returncode == 0
    line = next(line for line in made.stdout.splitlines() if "xkd train" in line)
    cell = line.split()[-1]
    grid = "{datasets: [digits], networks: [half_resnet8], methods: [focal], seeds: [0]}"
    brief = {
        "recipes.r_res": "{epochs: 1, milestones: []}",
        "experiments.focal_table1": f"[{grid}]",
        "papers": "[studies/focal]",
        "scales.demo.teachers": "{}",
    }
    sets = [word for key, value in brief.items() for word in ("--set", f"{key}={value}")]
    trained = xkd(copy, "train", cell, *sets)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.startswith(f"{cell}: test ")
    assert f"results/demo/runs/{cell}" in trained.stdout


def test_what_it_writes_is_as_the_house_likes_it(copy):
    if shutil.which("ruff") is None and not (Path(sys.executable).parent / "ruff").exists():
        pytest.skip("ruff is not there")
    ruff = shutil.which("ruff") or str(Path(sys.executable).parent / "ruff")
    file = copy / "workflow" / "xkd" / "methods" / "focal.py"
    for command in (["check", "-q"], ["format", "--check", "-q"]):
        done = subprocess.run([ruff, *command, "--config", str(ROOT / "pyproject.toml"), str(file)])
        assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("method", "kd"), "there is a method 'kd' already"),
        (("method", "focal"), "there is a method 'focal' already"),
        (("method", "Focal-2"), "expected small letters, digits and '_'"),
        (("metod", "x"), "unknown kind of thing 'metod'; did you mean 'method'?"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused_and_nothing_is_written(copy, arguments, told):
    before = {path: path.read_bytes() for path in copy.rglob("*.py")}
    done = xkd(copy, "new", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert {path: path.read_bytes() for path in copy.rglob("*.py")} == before
