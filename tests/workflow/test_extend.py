"""Additions, as docs/extend.md tells: a study outside the project, a method, a network, a data set,
an analysis, an explanation, a figure; a file and an entry each.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from small_project import Project

ROOT = Path(__file__).resolve().parents[2]

GUIDE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(python|yaml)\n(.*?)```", re.DOTALL)
FILE = re.compile(r"`((?:workflow|study)/[\w/]+\.py)`")
SHAPES = {"datasets": ["shapes"], "networks": ["tiny8"], "methods": ["study_plain", "focal"]}


def typed() -> tuple[dict[str, str], dict[str, Any]]:
    """What docs/extend.md has its reader type: files by path, and all entries together."""
    files, entries = {}, {}
    for block in BLOCK.finditer(GUIDE):
        kind, text = block.groups()
        if kind == "python":
            files[FILE.findall(GUIDE[: block.start()])[-1]] = text
        else:
            for section, content in yaml.safe_load(text).items():
                entries.setdefault(section, {}).update(content)
    return files, entries


def draw_shapes(path: Path) -> None:
    """Bars and discs of 8x8 pixels, under noise."""
    random = np.random.default_rng(0)
    row, column = np.mgrid[:8, :8] - 3.5
    shapes = np.stack([abs(row) < 1, row**2 + column**2 < 9])
    arrays = {}
    for split, count in (("train", 200), ("test", 60)):
        labels = np.arange(count) % 2
        pixels = 200 * shapes[labels, None] + random.normal(20, 20, (count, 1, 8, 8))
        arrays |= {f"{split}_images": pixels.clip(0, 255).astype(np.uint8)}
        arrays |= {f"{split}_labels": labels}
    path.parent.mkdir()
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which somebody has typed all of docs/extend.md, with a study beside it."""
    made = Project(tmp_path_factory.mktemp("project") / "xkd")
    study = made.folder.parent / "study"
    shutil.copytree(ROOT / "docs" / "study", study)
    files, entries = typed()
    for name, text in files.items():
        path = (made.folder.parent if name.startswith("study") else made.folder) / name
        path.parent.mkdir(exist_ok=True)
        assert not path.exists(), name
        path.write_text(text)
    config = yaml.safe_load((made.folder / "config.yaml").read_text())
    config["datasets"] |= entries.pop("datasets")
    (made.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    content = yaml.safe_load((study / "paper.yaml").read_text())
    content["experiments"]["study_table1"].append(SHAPES)
    for section, added in entries.items():
        content.setdefault(section, {}).update(added)
    (study / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    draw_shapes(made.folder / "data" / "shapes.npz")
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
    assert set(frame.method) == {"study_plain", "study_smooth", "focal"}
    assert (frame[frame.n > 0].n == 2).all()
    assert frame[frame.n > 0]["mean"].between(0.5, 1).all()
    text = (tables / "study_table1.md").read_text()
    assert "Study, Table 1" in text
    assert "smoothed labels generalise better" in text
    assert (tables / "study_claims.html").exists()


def test_a_network_a_method_and_a_data_set_are_a_file_and_an_entry_each(project: Project) -> None:
    frame = pd.read_csv(project.folder / "results/demo/tables/study_table1.csv")
    ours = frame[(frame.dataset == "shapes") & (frame.network == "tiny8")].set_index("method")
    assert (ours.loc["focal", "mean"] > 0.9).all()
    manifest = json.loads((project.folder / "results/demo/data/shapes/manifest.json").read_text())
    assert manifest["class_names"] == ["bar", "disc"]


def test_an_analysis_is_a_file_and_an_entry_and_serves_every_seed(project: Project) -> None:
    cells = {
        "digits/study_mlp/study_plain": 500,
        "digits/study_mlp/study_smooth": 500,
        "shapes/tiny8/study_plain": 60,
        "shapes/tiny8/focal": 60,
    }
    for cell, images in cells.items():
        for seed in (0, 1):
            folder = project.folder / LEAVES / f"margins/{cell}/seed{seed}"
            assert np.load(folder / "margins.npz")["margins"].shape == (images,)
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
