"""A teacher that is a file: from its arrival to its student, and what is turned away."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from fake_checkpoints import checkpoint, refused, xkd
from safetensors.torch import load_file

from xkd import networks
from xkd.data.dataset import load
from xkd.evaluate import Scored, accuracy, load_predictions
from xkd.files import digest, read_json
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.settings import NetworkSettings

ROOT = Path(__file__).resolve().parents[2]
TRAINED, RELEASED = "digits/half_resnet8/ce", "digits/half_resnet8/released"
STUDENT = "digits/half_resnet8/oracle/from-half_resnet8-released"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, and a network trained on them that stands for somebody else's."""
    folder = tmp_path_factory.mktemp("results")
    unused = checkpoint("none.pth", 0.5)
    assert xkd(folder, "prepare", "digits", checkpoints=unused) == 0
    assert xkd(folder, "train", TRAINED, checkpoints=unused) == 0
    return folder


@pytest.fixture(scope="module")
def released(results: Path) -> tuple[Path, float]:
    """A file as akamaster's code base would have saved it, and its accuracy."""
    folder = results / "demo/runs" / TRAINED / "seed0"
    weights = {
        "module." + name.replace("fc.", "linear.").replace("downsample", "shortcut"): value
        for name, value in load_file(folder / "weights.safetensors").items()
    }
    path = results / "teacher.th"
    torch.save({"state_dict": weights, "best_prec1": 50.0}, path)
    return path, read_json(folder / "metrics.json")["top1"]


def test_a_file_becomes_an_ordinary_run_and_teaches(
    results: Path, released: tuple[Path, float]
) -> None:
    path, top1 = released
    known = checkpoint(path, round(top1, 4))
    assert xkd(results, "import_weights", RELEASED, checkpoints=known) == 0
    run, twin = (results / "demo/runs" / cell / "seed0" for cell in (RELEASED, TRAINED))
    assert digest(run / "weights.safetensors") == digest(twin / "weights.safetensors")
    assert (run / "predictions.npz").read_bytes() == (twin / "predictions.npz").read_bytes()
    card = yaml.safe_load((run / "run.yaml").read_text())
    assert card["source"] == {"file": str(path), "sha256": digest(path), "url": None}
    cell = read_json(run.parent / "cell.json")
    assert cell["method"] == "released"
    assert cell["recipe"] is None
    assert cell["runs"]["0"]["metrics"]["top1"] == top1

    for name in ("responses", "clusters"):
        assert xkd(results, "analyse", name, f"{RELEASED}/seed0", checkpoints=known) == 0
    table = results / "table.npy"
    told = ("--reinforcement", "gradient-0.5", "--out", str(table))
    assert xkd(results, "tabulate_teacher", f"{RELEASED}/seed0", *told, checkpoints=known) == 0
    assert xkd(results, "train", STUDENT, "--table", str(table), checkpoints=known) == 0
    student = yaml.safe_load((results / "demo/runs" / STUDENT / "seed0/run.yaml").read_text())
    assert student["teacher"] == "table"
    assert len(load_predictions(results / f"demo/runs/{STUDENT}/seed0/predictions.npz")["labels"])


def test_an_import_is_not_repeated_until_the_file_changes(
    results: Path, released: tuple[Path, float], tmp_path: Path
) -> None:
    path, top1 = released
    own = tmp_path / "teacher.th"
    own.write_bytes(path.read_bytes())
    known = checkpoint(own, top1)
    assert xkd(results, "import_weights", RELEASED, checkpoints=known) == 0
    card = results / "demo/runs" / RELEASED / "seed0/run.yaml"
    first, manifest = card.read_bytes(), (card.parent.parent / "cell.json").read_bytes()
    assert xkd(results, "import_weights", RELEASED, checkpoints=known) == 0
    assert card.read_bytes() == first
    assert (card.parent.parent / "cell.json").read_bytes() == manifest
    content = torch.load(own)
    torch.save({**content, "best_prec1": 51.0}, own)
    assert xkd(results, "import_weights", RELEASED, checkpoints=known) == 0
    assert yaml.safe_load(card.read_text())["source"]["sha256"] == digest(own)


@pytest.mark.parametrize("points", [-0.3, 0.3])
def test_another_accuracy_is_refused_and_says_what_to_check(
    results: Path, released: tuple[Path, float], capsys: pytest.CaptureFixture, points: float
) -> None:
    path, top1 = released
    folder = results / "demo/runs" / RELEASED
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file())
    wrong = checkpoint(path, top1 + points / 100)
    text = refused(results, capsys, "import_weights", RELEASED, checkpoints=wrong)
    assert f"{top1:.2%} of the test images of digits are correct, expected" in text
    for cause in ("normalisation", "shortcut", "order of the classes", "expected_top1"):
        assert cause in text
    after = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file())
    assert after == before


def test_two_tenths_of_a_point_are_agreement(results: Path, released: tuple[Path, float]) -> None:
    path, top1 = released
    known = checkpoint(path, top1 + 0.002)
    assert xkd(results, "import_weights", RELEASED, checkpoints=known) == 0


def test_another_normalisation_is_noticed(
    results: Path, released: tuple[Path, float], capsys: pytest.CaptureFixture
) -> None:
    path, top1 = released
    text = refused(
        results, capsys, "import_weights", RELEASED, checkpoints=checkpoint(path, top1),
        **{"datasets.digits.mean": [0.9]},
    )  # fmt: skip
    assert "check the normalisation (mean: and std: beside file:, if its images had" in text


def test_weights_may_have_a_normalisation_of_their_own(
    results: Path, released: tuple[Path, float], capsys: pytest.CaptureFixture
) -> None:
    """Scored as they were trained, beside ours, and so is all that is made of them."""
    path, _ = released
    others = {"mean": [0.1], "std": [0.9]}
    dataset = Plan(config.load(ROOT / "config.yaml")).dataset("digits")
    data = load(results / "demo/data/digits")
    plain = networks.build(
        NetworkSettings("half_resnet8", "resnet", {"depth": 8, "widths": [8, 16, 32]}), dataset
    )
    plain.load_state_dict(load_file(results / "demo/runs" / TRAINED / "seed0/weights.safetensors"))
    split = Scored.of(data, "test", replace(dataset, mean=(0.1,), std=(0.9,)))
    top1 = accuracy(plain, split)
    known = checkpoint(path, top1, **others)
    assert xkd(results, "import_weights", RELEASED, checkpoints=known) == 0
    run = results / "demo/runs" / RELEASED / "seed0"
    assert read_json(run / "metrics.json")["top1"] == top1
    for name in ("responses", "clusters"):
        assert xkd(results, "analyse", name, f"{RELEASED}/seed0", checkpoints=known) == 0
    answers = read_json(results / f"demo/analysis/responses/{RELEASED}/seed0/responses.json")
    assert answers["reinforcements"]["gradient-0"]["test"]["top1"] == top1
    text = refused(results, capsys, "import_weights", RELEASED, checkpoints=checkpoint(path, top1))
    assert "of the test images of digits are correct, expected" in text
    three = checkpoint(path, top1, mean=[0.1] * 3, std=[0.9] * 3)
    text = refused(results, capsys, "check", checkpoints=three)
    assert "half_resnet8.mean: found [0.1, 0.1, 0.1], expected 1 numbers" in text


def test_a_file_that_may_be_fetched_is_fetched_and_verified(
    results: Path, released: tuple[Path, float], tmp_path: Path, capsys, serve
) -> None:
    path, top1 = released
    url = serve(path.parent) + path.name
    told = {"url": url, "sha256": digest(path)[:8]}
    known, root = checkpoint("weights/teacher.th", top1, **told), {"data_root": str(tmp_path)}
    text = refused(
        results, capsys, "import_weights", RELEASED, checkpoints=known, download=False, **root
    )
    put = tmp_path / "weights/teacher.th"
    assert f"{put} is missing; put {url} there" in text
    assert f"begins with {digest(path)[:8]}" in text
    assert xkd(results, "import_weights", RELEASED, checkpoints=known, **root) == 0
    assert digest(put) == digest(path)


def test_offline_says_which_file_to_put_where(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    gone = "http://127.0.0.1:9/nowhere.pth"
    known = checkpoint("t.pth", 0.5, url=gone, sha256="0123456789ab")
    root = {"data_root": str(tmp_path)}
    text = refused(results, capsys, "import_weights", RELEASED, checkpoints=known, **root)
    assert f"{tmp_path / 't.pth'} is missing and cannot be fetched" in text
    assert f"put {gone} there (its SHA-256 begins with 0123456789ab)" in text


def test_another_file_under_the_name_is_refused(
    results: Path, released: tuple[Path, float], tmp_path: Path, capsys, serve
) -> None:
    path, top1 = released
    wrong = checkpoint(path, top1, url="https://example.org/t.pth", sha256="00000000")
    text = refused(results, capsys, "import_weights", RELEASED, checkpoints=wrong)
    assert f"begins with {digest(path)[:8]}, expected 00000000" in text
    origin = tmp_path / "origin.pth"
    origin.write_bytes(b"another file")
    told = {"url": serve(tmp_path) + origin.name, "sha256": "00000000"}
    known = checkpoint("t.pth", top1, **told)
    root = {"data_root": str(tmp_path)}
    text = refused(results, capsys, "import_weights", RELEASED, checkpoints=known, **root)
    assert hashlib.sha256(b"another file").hexdigest()[:8] in text
    assert not (tmp_path / "t.pth").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_named(
    results: Path, released: tuple[Path, float], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tmp_path.chmod(0o500)
    told = {"url": "http://127.0.0.1:9/t.pth", "sha256": "00000000"}
    known, root = checkpoint("w/t.pth", 0.5, **told), {"data_root": str(tmp_path)}
    text = refused(results, capsys, "import_weights", RELEASED, checkpoints=known, **root)
    assert "Permission denied" in text


def test_trained_cells_are_not_imported_nor_imported_ones_trained(
    results: Path, capsys: pytest.CaptureFixture
) -> None:
    known = checkpoint("none.pth", 0.5)
    text = refused(results, capsys, "train", RELEASED, checkpoints=known)
    assert "comes from a file" in text
    text = refused(results, capsys, "import_weights", TRAINED, checkpoints=known)
    assert "is trained, not imported" in text
    text = refused(results, capsys, "import_weights", RELEASED, checkpoints=known)
    assert "none.pth is missing" in text
