"""Runs are used only for what the config asks: by verbs, analyses, tables and figures."""

from dataclasses import replace
from pathlib import Path

import fake_cells
import pytest
from fake_cells import RECIPE, cell, train

from xkd.analyses.base import Request, carry_out
from xkd.errors import Refused
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.jobs import item_description
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings, Search
from xkd.records import cards
from xkd.report import results

ROOT = Path(__file__).resolve().parents[2]
SHORT = replace(RECIPE, epochs=1, milestones=())
SETTINGS = cell("label_smoothing", (0,), network=fake_cells.SMALL, recipe=SHORT)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("cards"))
    fake_cells.prepared(made)
    train(SETTINGS, made)
    return made


def changed(**recipe: float) -> CellSettings:
    return replace(SETTINGS, recipe=replace(SHORT, **recipe))


def item(settings: CellSettings) -> dict:
    asked = settings.expectation()
    return {"runs": [[str(settings.cell), [0]]], "settings": {str(settings.cell): asked}}


def test_a_run_of_these_settings_is_taken(layout: Layout) -> None:
    cards.require_settings(layout.run(Run(SETTINGS.cell, 0)), SETTINGS)
    frame = results.read_cells(layout.manifest(SETTINGS.cell), item(SETTINGS))
    assert frame.seed.tolist() == [0]


def test_weights_of_other_settings_are_refused_by_the_setting(layout: Layout) -> None:
    with pytest.raises(Refused, match=r"was trained with recipe.lr: 0.05, the config says 0.1;"):
        cards.require_settings(layout.run(Run(SETTINGS.cell, 0)), changed(lr=0.1))


def test_numbers_of_other_settings_are_refused_by_the_setting(layout: Layout) -> None:
    manifest = layout.manifest(SETTINGS.cell)
    with pytest.raises(Refused, match=r"cell.json was trained with recipe.epochs: 1, .* says 2;"):
        results.read_cells(manifest, item(changed(epochs=2)))
    other = SETTINGS.with_option("true_class", 0.5)
    with pytest.raises(Refused, match=r"with options.true_class: .*, the config says 0.5"):
        results.read_cells(manifest, item(other))


def test_what_a_search_decides_is_not_expected_beforehand(layout: Layout) -> None:
    searched = replace(SETTINGS.with_option("true_class", 0.5), search=Search("true_class", (), 0))
    assert len(results.read_cells(layout.manifest(SETTINGS.cell), item(searched))) == 1


def test_a_card_that_is_no_card_is_refused(tmp_path: Path) -> None:
    for content in (b"[1, 2", b"files: 3", b"", b"\xff\xfe\xff"):
        (tmp_path / "run.yaml").write_bytes(content)
        with pytest.raises(Refused, match=r"run\.yaml is damaged \(.*\); delete it"):
            cards.read(tmp_path)


def test_every_item_expects_of_its_cells_what_they_are_trained_with() -> None:
    plan = Plan(config.load(ROOT / "config.yaml"))
    for shown in plan.items.values():
        asked = item_description(plan, shown)["settings"]
        assert asked.keys() >= {str(one) for one in shown.cells}
        for one in shown.cells:
            settings = plan.cells[one]
            assert asked[str(one)]["recipe"]["lr"] == settings.recipe.lr
            assert settings.teacher is None or str(settings.teacher.cell) in asked


def test_a_pair_of_classes_that_the_data_have_not_is_refused_by_name(layout: Layout) -> None:
    message = r"analyses.explanations.pairs of stripes: unknown class 'cc'; did you mean 'c'\?"
    run, options = Run(SETTINGS.cell, 0), {"explanation": "grad", "pairs": [["a", "cc"]]}
    with pytest.raises(Refused, match=message):
        carry_out(Request("explanations", run, SETTINGS, layout, options))
    assert not layout.analysis("explanations", run).exists()
