"""The small files of complete runs that the repository keeps, some of them without a seal."""

from pathlib import Path

import pytest

from xkd.errors import Refused
from xkd.files import read_json, read_yaml
from xkd.inspection.compare import compare
from xkd.inspection.describe import describe
from xkd.inspection.target import find, scale_of
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.records import cards

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
KINDS = ("run.yaml", "metrics.json", "search.json", "history.csv")
FILES = [path for kind in KINDS for path in sorted(REFERENCE.rglob(kind))]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REFERENCE)))
def test_every_committed_file_and_its_run_are_described(plan, path):
    for one in (path, path.parent):
        told = describe(find(str(one), plan, ROOT / "results"))
        assert told.facts
        assert "delete" not in str(told.facts)


def test_its_scale_is_that_of_the_papers():
    assert scale_of(str(REFERENCE / "mnist"), ("demo", "paper")) == "paper"


def test_a_damaged_one_is_to_be_restored_and_never_deleted(tmp_path):
    folder = tmp_path / "results" / "reference" / "mnist" / "seed0"
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text("run: [")
    (folder / "metrics.json").write_text('{"top1": 0.5, "seal": "0"}')
    for read, name in ((read_yaml, "run.yaml"), (read_json, "metrics.json")):
        with pytest.raises(Refused, match="restore it from the repository"):
            read(folder / name)
    with pytest.raises(Refused, match="restore it from the repository"):
        cards.read(folder)


def test_elsewhere_a_file_without_a_seal_is_refused(tmp_path):
    (tmp_path / "metrics.json").write_text('{"top1": 0.5}')
    with pytest.raises(Refused, match="carries no digest of itself"):
        read_json(tmp_path / "metrics.json")


def test_every_committed_cell_is_described(plan):
    for cell in {path.parents[1] for path in REFERENCE.rglob("run.yaml")}:
        told = describe(find(str(cell), plan, ROOT / "results")).facts
        runs = len(list(cell.glob("seed*")))
        assert told["cell"] == f"{runs} of its seeds are complete"
        assert "log" not in told["made by"]


def test_cells_are_compared_seed_by_seed(plan):
    folder = REFERENCE / "cifar10" / "resnet8"
    found = compare(*(find(str(folder / name), plan, ROOT) for name in ("ce", "le_permut")))
    assert (found.differences["top1"].why, found.equal) == ("5 pairs", False)
    assert found.settings["method.name"] == ("ce", "le_permut")


def test_a_cell_that_was_trained_in_two_precisions_is_found_in_a_folder_for_each(plan):
    cell = "mnist/mlp1024/ce"
    sides = [
        find(str(REFERENCE / f"precision/{p}/{cell}"), plan, ROOT) for p in ("float32", "bf16")
    ]
    for side in sides:
        assert (str(side.cell), side.foreign) == (cell, False)
        for path in side.path.rglob("*"):
            assert str(find(str(path), plan, ROOT).cell) == cell
    found = compare(*sides)
    assert found.settings == {}
    assert "engine.precision" in str(found.description.facts)
