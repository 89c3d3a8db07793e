"""An overlay serves any selection of papers; what a command line names has to be there."""

from itertools import combinations
from pathlib import Path

import pytest

from xkd.errors import Refused
from xkd.plan import config
from xkd.plan.grid import Plan

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config.yaml"
PAPERS = sorted(path.name for path in (ROOT / "workflow" / "papers").iterdir() if path.is_dir())
OVERLAYS = sorted((ROOT / "workflow" / "overlays").glob("*.yaml"))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "papers", [*combinations(PAPERS, 1), *combinations(PAPERS, 3)], ids=", ".join
)
def test_every_overlay_fits_any_selection_of_papers(overlay, papers):
    asked = config.load(CONFIG, [f"papers=[{','.join(papers)}]"], [overlay])
    assert set(asked["papers"]) == set(papers)
    Plan(asked)


def test_an_overlay_changes_the_papers_that_are_there_and_no_other(tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        "methods: {le_gradcam: {warmup: 1}, dkd_rkd: {warmup: 1}}\n"
        "experiments: {oracle_table1: []}\n"
        "recipes: {r_kd: {epochs: 5}}\n"
    )
    asked = config.load(CONFIG, ["papers=[le]"], [overlay])
    assert asked["methods"]["le_gradcam"]["warmup"] == 1
    assert "dkd_rkd" not in asked["methods"]
    assert "oracle_table1" not in asked["experiments"]
    assert asked["recipes"]["r_kd"]["epochs"] == 5


def test_a_whole_entry_stays_even_where_an_absent_paper_has_one_of_its_name(tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("methods: {dkd_rkd: {label: Mine, uses: kd, recipe: r_kd, warmup: 1}}\n")
    with pytest.raises(Refused, match=r"mine.yaml: methods.dkd_rkd.*warmup"):  # KD knows none
        Plan(config.load(CONFIG, ["papers=[le]"], [overlay]))


def test_a_misspelt_entry_is_refused_with_the_file_that_wrote_it(tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("methods: {le_gradcamm: {warmup: 1}}\n")
    with pytest.raises(Refused, match=r"mine.yaml: methods.le_gradcamm: 'label' is missing"):
        config.load(CONFIG, overlays=[overlay])
    with pytest.raises(Refused, match=r"the command line: methods.dkd_rkd: 'label' is missing"):
        config.load(CONFIG, ["papers=[le]", "methods.dkd_rkd.warmup=3"])
