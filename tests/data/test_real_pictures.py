"""20 classes of Tiny-ImageNet and 50 photographs of ImageNet, through the ordinary rules.

Reduced by config alone: fewer classes, smaller networks, two epochs. Weights for ImageNet are made
up: they answer every photograph with the class of the first one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from xkd.files import digest, read_json
from xkd.networks import imagenet_resnet

PROJECT = Path(__file__).resolve().parents[2]
ROOT = os.environ.get("XKD_DATA_ROOT")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT, reason="XKD_DATA_ROOT does not name a folder with the data sets"),
]
REDUCED = """
scale: paper
datasets:
  tiny_imagenet: { classes: 20, holdout: 1000 }
  imagenet: { folder: imagenet-samples, size: 96 }
networks:
  mlp64: { label: MLP64, family: mlp, hidden: [64], recipe: r_tin }
recipes:
  r_tin: { epochs: 2, batch: 128, lr: 0.01, milestones: [] }
teachers:
  tiny: { network: mlp64, method: ce_teacher, seed: 0 }
experiments:
  oracle_table2:
    - { datasets: [imagenet], networks: [resnet18], methods: [torchvision], seeds: [0] }
  oracle_table5:
    - datasets: [tiny_imagenet]
      networks: [mlp64]
      methods: [oracle]
      teachers: [tiny]
      seeds: [0]
analyses:
  responses: { gradient: [0, 0.5], sign: [], keep: [0.5] }
  clusters: { gammas: [0] }
"""


def made_up(file: Path, answer: int) -> dict[str, object]:
    """A ResNet18 that is sure of one class; its entry under `checkpoints`."""
    torch.manual_seed(0)
    network = imagenet_resnet.build(3, 96, 1000, depth=18, stem="imagenet")
    with torch.no_grad():
        network.fc.weight.zero_()
        network.fc.bias[answer] += 100
    file.parent.mkdir()
    torch.save(network.state_dict(), file)
    return {"file": str(file), "expected_top1": 1 / 50, "sha256": digest(file)[:8]}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the rules make of Tables 2 and 5."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Snakefile", "config.yaml", "workflow", "envs"):
        (folder / name).symlink_to(PROJECT / name)
    labels = pd.read_csv(Path(ROOT) / "imagenet-samples" / "labels.csv")
    entry = made_up(folder / "weights" / "r18.pth", int(labels.class_index[0]))
    said = yaml.safe_load(REDUCED)
    said |= {
        "data_root": ROOT,
        "download": False,
        "checkpoints": {"torchvision": {"files": {"imagenet": {"resnet18": entry}}}},
    }
    (folder / "reduced.yaml").write_text(yaml.safe_dump(said))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "reduced.yaml", "--",
         "oracle_table2", "oracle_table5"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "paper"


def test_tiny_imagenet_is_prepared_and_learned(results):
    manifest = read_json(results / "data" / "tiny_imagenet" / "manifest.json")
    assert manifest["counts"] == {"train": 10_000, "holdout": 1_000, "test": 1_000}
    assert manifest["notes"]["grey_images"] == len(manifest["notes"]["grey_files"]) == 153
    assert manifest["notes"]["subset"] == "20 of the 200 classes of Tiny-ImageNet"
    teacher, student = (
        read_json(results / "runs" / "tiny_imagenet" / "mlp64" / cell / "cell.json")
        for cell in ("ce_teacher", "oracle/from-mlp64-ce_teacher")
    )
    assert teacher["recipe"]["name"] == student["recipe"]["name"] == "r_tin"
    assert teacher["runs"]["0"]["metrics"]["train_top1"] > 1.5 / 20
    table = pd.read_csv(results / "tables" / "oracle_table5.csv")
    assert table[table.n > 0].dataset.unique().tolist() == ["tiny_imagenet"]


def test_released_weights_answer_photographs_and_their_reinforced_versions(results):
    manifest = read_json(results / "data" / "imagenet" / "manifest.json")
    assert manifest["counts"] == {"train": 0, "holdout": 0, "test": 50}
    assert manifest["notes"]["classes_without_test_image"] == 950
    folder = results / "oracle/imagenet/resnet18/torchvision/seed0"
    answers = read_json(folder / "responses.json")
    assert answers["reinforcements"]["gradient-0"]["test"]["top1"] == 1 / 50
    assert (folder / "gradient-0.5" / "preview.png").is_file()
    table = pd.read_csv(results / "tables" / "oracle_table2.csv")
    ours = table[(table.n > 0) & (table.metric == "ece") & (table.method == "gradient-0")]
    assert ours["mean"].item() == pytest.approx(1 - 1 / 50, abs=1e-6)
    assert table[table.metric == "parameters"]["mean"].dropna().tolist() == [11_689_512]
