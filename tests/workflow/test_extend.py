"""Additions: a study outside the project, an analysis, an explanation; a file and an entry each."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from small_project import Project

ROOT = Path(__file__).resolve().parents[2]

ANALYSIS = '''"""Margins: how far the true class's logit lies above the next one, on test images."""

import numpy as np

from xkd.analyses.base import Request
from xkd.evaluate import load_predictions
from xkd.files import atomic

READS = ("data",)
OUTPUTS = {"margins": "margins.npz"}
OPTIONS = {"scale": {"description": "factor", "type": "number", "exclusiveMinimum": 0}}
COST = {"core_minutes": "test / 1e6"}


def analyse(request: Request) -> None:
    """Write margins of all test images, [N]."""
    found = load_predictions(request.layout.run(request.run) / "predictions.npz")
    logits, labels = found["logits"].astype(float), found["labels"].astype(int)
    rows = np.arange(len(labels))
    true = logits[rows, labels].copy()
    logits[rows, labels] = -np.inf
    with atomic(request.output("margins")) as temporary, temporary.open("wb") as file:
        np.savez(file, margins=request.options["scale"] * (true - logits.max(1)))
'''
EXPLANATION = '''"""The image itself, the same for every class: a control."""

from torch import Tensor

from xkd.networks import Network, Output

LABEL = "Image"
NEEDS = ()


def all_classes(network: Network, output: Output, images: Tensor) -> Tensor:
    """x for every class, [B, C, P]."""
    return images.flatten(1)[:, None].expand(-1, output.logits.shape[1], -1).detach()
'''
FIGURE = '''"""Margins of every seed. Protocol: test split, last epoch."""

import numpy as np
import pandas as pd

from xkd.report import drawing, plots

if __name__ == "__main__":
    with drawing.job(snakemake):
        means = [np.load(path)["margins"].mean() for path in snakemake.input.margins]
        data = pd.DataFrame({"run": range(len(means)), "margin": means})
        figure, axes = plots.panels(snakemake.params.item, 1, 1, height=2)
        axes[0, 0].plot(data.run, data.margin, "o")
        plots.save(figure, data, snakemake.output)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a study beside it that uses an analysis and an explanation of its own."""
    made = Project(tmp_path_factory.mktemp("project") / "xkd")
    study = made.folder.parent / "study"
    shutil.copytree(ROOT / "docs" / "study", study)
    content = yaml.safe_load((study / "paper.yaml").read_text())
    entry = {"title": "Margins", "experiment": "study_table1", "needs": ["margins"]}
    content["figures"] = {"study_margins": {"number": "Figure 1", "analysed": "every", **entry}}
    content["analyses"] = {"margins": {"scale": 2}}
    (study / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (study / "figures").mkdir()
    (study / "figures" / "study_margins.py").write_text(FIGURE)
    library = made.folder / "workflow" / "xkd"
    (library / "analyses" / "margins.py").write_text(ANALYSIS)
    (library / "explain" / "image.py").write_text(EXPLANATION)
    status, printed = made.run(
        "study",
        f"{LEAVES}/explanations/digits/study_mlp/study_plain/seed0/analysis.json",
        "--config",
        f"papers=[{study}]",
        "seeds=[0, 1]",
        "analyses={explanations: {explanation: image}}",
    )
    assert status == 0, printed
    return made


LEAVES = "results/demo/analysis"


def test_a_study_outside_the_project_is_built_end_to_end(project: Project) -> None:
    tables = project.folder / "results" / "demo" / "tables"
    frame = pd.read_csv(tables / "study_table1.csv")
    assert set(frame.method) == {"study_plain", "study_smooth"}
    assert (frame[frame.n > 0].n == 2).all()
    assert frame[frame.n > 0]["mean"].between(0.5, 1).all()
    text = (tables / "study_table1.md").read_text()
    assert "Study, Table 1" in text
    assert "smoothed labels generalise better" in text
    assert (tables / "study_claims.html").exists()


def test_an_analysis_is_a_file_and_an_entry_and_serves_every_seed(project: Project) -> None:
    cells = ("study_plain", "study_smooth")
    for cell in cells:
        for seed in (0, 1):
            folder = project.folder / LEAVES / f"margins/digits/study_mlp/{cell}/seed{seed}"
            assert np.load(folder / "margins.npz")["margins"].shape == (500,)
            assert json.loads((folder / "analysis.json").read_text())["options"] == {"scale": 2.0}
    drawn = pd.read_csv(project.folder / "results/demo/figures/study_margins.csv")
    assert len(drawn) == len(cells) * 2


def test_an_explanation_is_a_file(project: Project) -> None:
    folder = project.folder / LEAVES / "explanations/digits/study_mlp/study_plain/seed0"
    with np.load(folder / "explanations.npz") as found:
        maps = found["maps"]
    assert (maps == maps[:, :1]).all()  # the same for every class


def test_a_study_that_repeats_a_name_is_refused_with_both_files(tmp_path: Path) -> None:
    study = tmp_path / "mine"
    shutil.copytree(ROOT / "docs" / "study", study)
    text = (study / "paper.yaml").read_text()
    (study / "paper.yaml").write_text(text.replace("study_mlp", "resnet8"))
    code = [sys.executable, "-m", "xkd", "check", "--set", f"papers=[{study}]"]
    environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(code, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    message = "networks.resnet8: config.yaml has an entry of this name already"
    assert done.stderr.strip() == f"xkd check: {study}/paper.yaml: {message}; choose another"
