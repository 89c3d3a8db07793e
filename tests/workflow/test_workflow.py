"""The real workflow on a copy of the project: end to end in small, then what re-runs after what."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import one_number
import pytest
import torch
from safetensors.torch import load_file

from xkd.plan import config, grid
from xkd.plan.runs import Cell

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--configfile", str(Path(__file__).parents[1] / "support" / "small.yaml")]


class Project:
    """A copy of the project that tests may run and edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Snakefile", "config.yaml", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)
        for name in ("workflow", "envs", "profiles"):
            hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=hidden)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        snakemake = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        warm = [] if "--dry-run" in arguments else [sys.executable, "-m", "xkd.warm"]
        environment = {k: v for k, v in os.environ.items() if k != "XKD_CONFIG"}
        environment["PYTHONPATH"] = str(self.folder / "workflow")
        return subprocess.run(
            [*warm, *snakemake], cwd=self.folder, env=environment, capture_output=True, text=True
        )

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs per rule of a dry run, targets that only collect left out."""
        done = self.snakemake("--dry-run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", done.stdout, re.DOTALL)
        rows = [line.split() for line in table[1].splitlines()] if table else []
        papers = (path.parent.name for path in (ROOT / "workflow/papers").glob("*/paper.yaml"))
        collecting = {"all", "total", "page", *papers}  # the page shows whatever is there
        return {rule: int(count) for rule, count in rows if rule not in collecting}

    @contextmanager
    def edited(self, name: str, old: str, new: str) -> Iterator[None]:
        """A file with one replacement, for a while; its age is kept."""
        path = self.folder / name
        before, stat = path.read_text(), path.stat()
        assert before.count(old) >= 1, f"{name} does not contain {old!r}"
        path.write_text(before.replace(old, new, 1))
        try:
            yield
        finally:
            path.write_text(before)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose small demo has run to the end."""
    made = Project(tmp_path_factory.mktemp("ein Projekt é"))
    done = made.snakemake("--quiet", "rules", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def items(project: Project) -> list[str]:
    """Names of all tables and figures that are not optional."""
    overlays = [Path(SMALL[1])]
    asked = grid.Plan(config.load(project.folder / "config.yaml", overlays=overlays))
    return [name for name, item in asked.items.items() if not item.optional]


def test_every_item_is_made_and_nothing_is_left_to_do(project: Project) -> None:
    root = project.folder / "results" / "demo"
    for name in items(project):
        made = sorted(path.suffix for path in root.glob(f"*/{name}.*"))
        assert made in ([".csv", ".html", ".md", ".tex"], [".csv", ".pdf", ".png"]), name
        assert all(path.stat().st_size > 100 for path in root.glob(f"*/{name}.*"))
    for name in ("le_table2", "le_figure3", "oracle_figure5"):
        (judged,) = root.glob(f"*/{name}_claims.csv")
        assert "verdict" in judged.read_text()
    assert {path.suffix for path in root.glob("tables/le_claims.*")} == {".csv", ".html", ".md"}
    assert project.planned(*SMALL) == {}


def test_every_run_leaves_weights_history_card_metrics_and_predictions(project: Project) -> None:
    manifests = list((project.folder / "results/demo/runs").rglob("cell.json"))
    assert len(manifests) > 20
    for manifest in manifests:
        for seed, run in json.loads(manifest.read_text())["runs"].items():
            found = {path.name for path in (manifest.parent / f"seed{seed}").iterdir()}
            assert found >= {
                "weights.safetensors",
                "history.csv",
                "run.yaml",
                "metrics.json",
                "predictions.npz",
            }
            assert 0 <= run["metrics"]["top1"] <= 1


def test_demo_never_shows_published_numbers_beside_its_own(project: Project) -> None:
    text = (project.folder / "results/demo/tables/le_table2.md").read_text()
    assert "demo" in text.lower()
    ours = (project.folder / "results/demo/tables/le_table2.csv").read_text()
    assert "90.26" not in ours


def test_a_number_is_the_same_wherever_it_stands(project: Project) -> None:
    root = project.folder / "results/demo"
    assert one_number.disagreements(root) == []
    known = one_number.facts(root)
    for kind in ("top1", "best_top1", "ece", "mean", "difference"):
        places = {place for fact, said in known.items() if fact[0] == kind for *_, place in said}
        assert len(places) > 3, kind
    table = "results/demo/tables/le_table2.csv"
    mean = re.search(r",ce,top1,2,([0-9.]+),", (project.folder / table).read_text())[1]
    with project.edited(table, mean, f"{float(mean) - 0.001:.6f}"):
        assert any("le_table2" in told for told in one_number.disagreements(root))


# ------------------------------------------------------------------------------- what re-runs


def test_a_touched_module_reruns_nothing(project: Project) -> None:
    for name in ("methods/kd.py", "engine/training.py", "report/tables.py"):
        (project.folder / "workflow/xkd" / name).touch()
    assert project.planned(*SMALL) == {}


def test_a_comment_reruns_nothing(project: Project) -> None:
    with project.edited("workflow/xkd/losses.py", "\n\n\n", "\n\n\n# A thought.\n"):
        assert project.planned(*SMALL) == {}


def test_an_edited_method_retrains_its_cells_only(project: Project) -> None:
    method = "workflow/xkd/methods/oracle.py"
    with project.edited(method, "class Method", "EDITED = 1\n\n\nclass Method"):
        planned = project.planned(*SMALL)
    # Two teachers x two students with gamma 0.5, and one pair with gamma 0. The teachers' tables
    # are temporary and made again; the table with gamma 0 calls back the four students of KD that
    # share it, whose seeds are complete: they are not trained again.
    assert planned == {
        "train": 5 + 4,
        "tabulate_teacher": 3,
        "judge": 4,
        "oracle_claims": 1,
        "oracle_table4": 1,
        "oracle_table5": 1,
        "oracle_figure5": 1,
        "oracle_figure5_equal": 1,
        "oracle_figure1b": 1,
    }


def test_an_edited_analysis_retrains_nothing(project: Project) -> None:
    with project.edited(
        "workflow/xkd/measures/clusters.py", "ITERATIONS = 1000", "ITERATIONS = 999"
    ):
        planned = project.planned(*SMALL)
    judged = {"judge": 1, "oracle_claims": 1}  # that silhouettes grow
    assert planned == {"clusters": 1, "oracle_figure3": 1, "oracle_figure4": 1, **judged}


def test_an_edited_figure_redraws_only_itself(project: Project) -> None:
    script = "workflow/papers/le/figures/le_figure3.py"
    with project.edited(script, "import", "EDITED = 1\nimport"):
        assert project.planned(*SMALL) == {"le_figure3": 1}


def test_a_changed_learning_rate_retrains_what_uses_it(project: Project) -> None:
    planned = project.planned(*SMALL, "--config", "recipes={r_mlp: {lr: 0.03}}")
    assert planned == {
        "train": 3,  # CE, LE(Grad) and LE-Permut on the perceptron
        "explanations": 1,
        "judge": 3,
        "le_claims": 1,
        "le_table3": 1,
        "le_table6": 1,
        "le_figure1": 1,
        "le_figure2": 1,
    }


def test_one_more_seed_trains_only_that_seed(project: Project) -> None:
    target = "results/demo/runs/digits/mlp256/ce/cell.json"
    folder = (project.folder / target).parent
    before = {p: p.stat().st_mtime_ns for p in folder.glob("seed*/weights.safetensors")}
    done = project.snakemake(target, *SMALL, "--config", "seeds=[0, 1, 2]")
    assert done.returncode == 0, done.stderr
    after = {p: p.stat().st_mtime_ns for p in folder.glob("seed*/weights.safetensors")}
    assert after.keys() - before.keys() == {folder / "seed2/weights.safetensors"}
    assert before.items() <= after.items()


# ------------------------------------------------------------------------------ released weights

RELEASED = """
checkpoints:
  released:
    label: Released
    keys: repdistiller
    files: { digits: { half_resnet8: { file: "%s", expected_top1: %.4f } } }
teachers:
  oracle20: { network: resnet20, method: released }
experiments:
  oracle_teacher20:
    - { datasets: [cifar100], networks: [resnet20], methods: [released], seeds: [0] }
"""


def test_a_teacher_may_be_a_file(project: Project) -> None:
    folder = project.folder / "results/demo/runs/digits/half_resnet8/ce_teacher/seed0"
    top1 = json.loads((folder / "metrics.json").read_text())["top1"]
    weights = load_file(folder / "weights.safetensors")
    teacher = project.folder / "teacher.pth"
    torch.save({"model": weights}, teacher)
    (project.folder / "released.yaml").write_text(RELEASED % (teacher, top1), encoding="utf-8")
    student = "results/demo/runs/digits/half_resnet8/oracle/from-half_resnet8-released/cell.json"
    asked = [*SMALL, "released.yaml", "--", student, "oracle_figure4"]
    expected = {"import_weights": 1, "tabulate_teacher": 1, "train": 1}
    analysed = {"responses": 1, "clusters": 1, "oracle_figure4": 1}
    assert project.planned(*asked) == expected | analysed
    done = project.snakemake("--quiet", "rules", *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.planned(*asked) == {}
    weights["fc.bias"] += 1
    torch.save({"model": weights}, teacher)
    assert project.planned(*asked) == expected | analysed


# ---------------------------------------------------------------------------------- other scales


def test_paper_scale_has_the_papers_counts(project: Project) -> None:
    planned = project.planned("le_table2", "le_table6", "--config", "scale=paper")
    # Table 2: 2 networks x 8 methods, 3 of them searched; Table 6 adds the MLP with 3 methods, and
    # 2 networks x (LE-Permut, LE(Grad))
    assert planned == {
        "prepare": 2,
        "search": 6,
        "train": 23,
        "judge": 2,
        "le_table2": 1,
        "le_table6": 1,
    }
    planned = project.planned("le_table1", "--config", "scale=paper")
    # the teacher and 2 students x 6 methods; one table of the teacher's logits serves them all
    assert planned == {
        "prepare": 1,
        "train": 13,
        "tabulate_teacher": 1,
        "judge": 1,
        "le_table1": 1,
    }
    planned = project.planned("oracle_table4", "--config", "scale=paper")
    # 2 data sets x 4 networks: teacher, CE, 5 baselines with 2 recipes, gamma = 0, Oracle
    assert planned["train"] == 2 * 4 * 14
    planned = project.planned("oracle_table2", "--config", "scale=paper")
    # four released networks, and nothing to train
    assert planned == {"prepare": 1, "import_weights": 4, "responses": 4, "oracle_table2": 1}
    planned = project.planned("oracle_table5", "--config", "scale=paper")
    # Tiny-ImageNet: 2 teachers, 2 x 2 pairs of networks; ImageNet: 1 released teacher, 2 networks;
    # for each 6 methods and the control. Only Tiny-ImageNet's teachers fill tables of logits, on x
    # and on x*.
    assert planned == {
        "prepare": 2,
        "import_weights": 1,
        "train": 2 + (4 + 2) * 7,
        "tabulate_teacher": 2 * 2,
        "judge": 1,
        "oracle_table5": 1,
    }
    asked = ("oracle_table3", "oracle_figure4", "oracle_figure5", "oracle_figure5_equal")
    # 8 teachers; 16 pairs with 5 baselines under 2 recipes, gamma = 0, Oracle; per teacher on
    # CIFAR-100 a table of logits on x, and one for each gamma of the run records
    assert project.planned(*asked, "--config", "scale=paper") == {
        "prepare": 2,
        "train": 8 + 16 * 12,
        "tabulate_teacher": 4 * 3,
        "responses": 8,
        "clusters": 1,
        **dict.fromkeys(asked, 1),
    }


def test_table_5_has_the_runs_that_the_paper_implies() -> None:
    asked = grid.Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))
    runs = {"tiny_imagenet": 0, "imagenet": 0}
    controls = dict(runs)
    for cell, seeds in asked.items["oracle_table5"].runs:
        counted = controls if cell.method == "oracle_gamma0" else runs
        counted[cell.dataset] += len(seeds)
    assert runs == {"tiny_imagenet": 4 * 6 * 3, "imagenet": 2 * 6}
    assert controls == {"tiny_imagenet": 4 * 3, "imagenet": 2}
    teachers = {c for c in asked.cells if c.dataset == "tiny_imagenet" and not c.teacher}
    assert teachers == {
        Cell("tiny_imagenet", "resnet18", "ce_teacher"),
        Cell("tiny_imagenet", "resnet34", "ce_teacher"),
    }


def test_processes_share_what_stays_in_its_files_and_nothing_else(project: Project) -> None:
    cells = ["imagenet/resnet18/oracle/from-resnet34-torchvision", "cifar10/resnet8/ce"]
    targets = [f"results/paper/runs/{cell}/cell.json" for cell in cells]
    given = ["--config", "scale=paper", "engine={processes: 4}"]
    done = project.snakemake("--dry-run", "--printshellcmds", *targets, *given)
    assert done.returncode == 0, done.stdout + done.stderr
    shared = "python -m torch.distributed.run --standalone --nproc-per-node 4 -m xkd train imagenet"
    assert shared in done.stdout
    assert "python -m xkd train cifar10/resnet8/ce " in done.stdout


def test_a_mistake_in_the_config_is_one_line(project: Project) -> None:
    done = project.snakemake("--dry-run", "--config", "scale=papr")
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "unknown scale 'papr'; did you mean 'paper'?" in text
    assert "Traceback" not in text


def test_pins_for_conda_are_those_of_pip() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "envs" / "conda.py"], capture_output=True, text=True, check=True
    )
    assert made.stdout == (ROOT / "envs" / "xkd.yaml").read_text()
