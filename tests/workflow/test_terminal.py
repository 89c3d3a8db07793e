"""What Snakemake's terminal shows: counts that agree, targets misspelt, a line per cell."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "seeds=[0, 1]",
    "recipes={r_mlp: {epochs: 2, search_epochs: 1}}",
    "experiments={le_table3: [{datasets: [mnist], networks: [mlp1024], methods: [ce, le_grad]}]}",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("workflow", "envs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=hidden)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def typed(project: Path, module: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(project / "workflow"), "OMP_NUM_THREADS": "1"}
    environment.pop("XKD_CONFIG", None)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_check_status_and_snakemake_count_the_same_jobs(project):
    dry = typed(project, "snakemake", "--cores", "1", "--dry-run", "--quiet", "rules")
    total = int(re.search(r"^total +(\d+)$", dry.stdout + dry.stderr, re.MULTILINE)[1])
    checked = typed(project, "xkd", "check").stdout.splitlines()[0]
    assert f", {total} jobs and about " in checked
    status = typed(project, "xkd", "status").stdout.splitlines()[0]
    assert status == f"results/demo: 0 of {total - 1} jobs done"  # `all` itself makes nothing


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("le_tabel2", "unknown target 'le_tabel2'; did you mean 'le_table2'?"),
        (
            "results/demo/runs/digits/half_resnet14/le_gradcm/cell.json",
            "unknown method 'le_gradcm', did you mean 'le_gradcam'?",
        ),
        (
            "results/demo/runs/cifar10/resnet14/kd/from-resnet26/cell.json",
            "here it is digits/half_resnet14/kd/from-half_resnet20, or say --config scale=paper",
        ),
    ],
)
def test_a_misspelt_target_is_one_line_with_what_was_meant(project, target, told):
    done = typed(project, "snakemake", "--cores", "1", target)
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert told in printed
    assert "Traceback" not in printed
    assert "Exception" not in printed


def test_a_quiet_run_has_a_line_for_every_cell_and_item_and_no_numbers_of_jobs(project):
    given = [word for one in SMALL for word in ("--config", one)][1::2]
    done = typed(
        project, "snakemake", "--cores", "2", "--quiet", "rules", "host",
        "--config", *given, "--", "le_table3",
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert re.search(r"\[ *\d/\d  \d\d:\d\d.*\]  CE · MLP256 · Digits: .* % \(2 seeds\)", printed)
    assert re.search(r"\[ *\d/\d  \d\d:\d\d.*\]  LE\(Grad\) · MLP256 · Digits: ", printed)
    assert "LE Table 3: results/demo/tables/le_table3.html" in printed
    assert "tables   results/demo/tables/  (1 of " in printed
    for noise in ("Execute", "Finished jobid", "Select jobs", "steps ("):
        assert noise not in printed
    assert not (project / "results" / "demo" / ".pipeline" / "state.json").exists()
