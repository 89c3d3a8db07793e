"""Searches choose on the hold-out split, and no test image has a part in it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xkd.__main__ import main
from xkd.files import digest, read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
CELL = "digits/mlp256/dropout"
GRID = "experiments.le_table3=[{datasets: [mnist], networks: [mlp1024], methods: [dropout]}]"
SETS = [GRID, "recipes.r_mlp={epochs: 2, search_epochs: 1}", "seeds=[3]"]


def run(results: Path, *verb: str) -> int:
    sets = [part for setting in SETS for part in ("--set", setting)]
    return main([*verb, "--config", str(ROOT / "config.yaml"), "--results", str(results), *sets])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with the digits prepared."""
    assert run(tmp_path, "prepare", "digits") == 0
    return tmp_path


def spoil_the_test_images(results: Path) -> None:
    """Every test image becomes noise, every label another; the manifest agrees."""
    folder = results / "demo/data/digits"
    tensors = load_file(folder / "data.safetensors")
    torch.manual_seed(0)
    tensors["test_images"] = torch.randint_like(tensors["test_images"], 256)
    tensors["test_labels"] = tensors["test_labels"].flip(0)
    save_file(tensors, folder / "data.safetensors")
    manifest = read_json(folder / "manifest.json")
    manifest["digests"]["data.safetensors"] = digest(folder / "data.safetensors")
    write_json(folder / "manifest.json", manifest)


def test_the_search_is_the_same_whatever_the_test_images(
    results: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    assert run(other, "prepare", "digits") == 0
    spoil_the_test_images(other)
    assert run(results, "search", CELL) == 0
    assert run(other, "search", CELL) == 0
    found = [
        json.loads((r / f"demo/runs/{CELL}/search.json").read_text()) for r in (results, other)
    ]
    for search in found:
        for score in search["scores"]:
            score.pop("seconds", None)
    assert found[0] == found[1]
    best = max(found[0]["scores"], key=lambda score: (score["top1"], -score["nll"]))
    assert found[0]["winner"] == best["value"]
    assert found[0]["split"] == "holdout"


def test_the_winner_is_what_the_final_seeds_are_trained_with(results: Path) -> None:
    assert run(results, "search", CELL) == 0
    path = results / f"demo/runs/{CELL}/search.json"
    chosen = read_json(path) | {"winner": 0.75}  # another choice, to see that it is obeyed
    write_json(path, chosen)
    assert run(results, "train", CELL) == 0
    card = (results / f"demo/runs/{CELL}/seed3/run.yaml").read_text()
    assert "rate: 0.75" in card


def test_training_before_the_search_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results, "train", CELL) == 2
    assert "search.json is missing" in capsys.readouterr().err


def test_a_search_over_other_values_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results, "search", CELL) == 0
    path = results / f"demo/runs/{CELL}/search.json"
    search = read_json(path)
    search["scores"].pop()
    write_json(path, search)
    assert run(results, "train", CELL) == 2
    assert "expected [0.1, 0.25, 0.5, 0.75]" in capsys.readouterr().err
