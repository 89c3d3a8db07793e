"""A number has one value wherever it is shown; an analysis serves only what it was made of."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_cells import RECIPE, cell, prepared, train

from xkd.analyses.base import Request, carry_out
from xkd.errors import Refused
from xkd.evaluate import load_predictions
from xkd.files import digest, read_json, write_json
from xkd.measures.calibration import ece
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings
from xkd.records.analyses import check_card

OPTIONS = {
    "responses": {"gradient": [0, 0.5], "sign": [], "keep": [], "splits": ["test", "train"]},
    "clusters": {
        "gammas": [0, 0.5],
        "splits": ["test", "train"],
        "points": 20,
        "perplexity": 5,
        "embedding_seeds": 1,
    },
}
SETTINGS = cell("ce", (0,), recipe=replace(RECIPE, epochs=2, milestones=()))
RUN = Run(SETTINGS.cell, 0)


def analyse(layout: Layout, name: str, settings: CellSettings = SETTINGS, **asked: object) -> None:
    options = {**OPTIONS, name: {**OPTIONS[name], **asked}}
    others = {other: options[other] for other in OPTIONS if other != name}
    carry_out(Request(name, RUN, settings, layout, options[name], others=others))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("results"))
    prepared(layout)
    train(SETTINGS, layout)
    for name in OPTIONS:
        analyse(layout, name)
    return layout


@pytest.fixture
def layout(finished: Layout, tmp_path: Path) -> Layout:
    """A copy to spoil."""
    for old in finished.root.rglob("*"):
        if old.is_file():
            new = tmp_path / old.relative_to(finished.root)
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(old.read_bytes())
    return Layout(tmp_path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_network_has_one_accuracy_and_one_calibration_everywhere(finished: Layout) -> None:
    folder = finished.run(RUN)
    metrics = read_json(folder / "metrics.json")
    assert read_json(finished.manifest(RUN.cell))["runs"]["0"]["metrics"] == metrics

    answers = read_json(finished.analysis("responses", RUN) / "responses.json")["reinforcements"]
    plain = answers["gradient-0"]["test"]
    assert {name: plain[name] for name in ("top1", "ece", "ece15")} == {
        name: metrics[name] for name in ("top1", "ece", "ece15")
    }
    assert float(f"{metrics['top1']:.9g}") == float(rows(folder / "history.csv")[-1]["test_top1"])

    predictions = load_predictions(folder / "predictions.npz")
    right = predictions["predicted"] == predictions["labels"]
    assert right.mean() == metrics["top1"]
    assert ece(predictions["confidence"], right) == pytest.approx(metrics["ece"], abs=1e-6)

    for row in rows(finished.analysis("clusters", RUN) / "clusters.csv"):
        known = answers[f"{row['kind']}-{float(row['gamma']):g}"][row["split"]]
        assert float(row["top1"]) == known["top1"]


def test_scores_are_those_of_logits_before_they_are_rounded_for_storage(finished: Layout) -> None:
    folder = finished.analysis("responses", RUN)
    with np.load(folder / "gradient-0.5/train.npz") as stored:
        logits = stored["logits"]
    assert logits.dtype == np.float16
    found = read_json(folder / "responses.json")["reinforcements"]["gradient-0.5"]["train"]
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    rounded = (1 / np.exp(shifted).sum(1)).mean()
    bins = found["reliability"]
    shown = sum(
        confidence * count
        for confidence, count in zip(bins["confidence"], bins["count"], strict=True)
        if count
    )
    assert shown / sum(bins["count"]) == pytest.approx(rounded, abs=1e-3)
    assert abs(shown / sum(bins["count"]) - rounded) > 1e-9  # half precision has 11 bits


# ------------------------------------------------------------------- what an analysis is made of


def test_clusters_of_responses_with_other_options_are_not_made(layout: Layout) -> None:
    analyse(layout, "responses", splits=["test"])
    again = re.escape(f"run `xkd analyse responses {RUN}` again")
    with pytest.raises(Refused, match=rf"was made with splits: \['test'\], .*; {again}"):
        analyse(layout, "clusters")


def test_clusters_of_responses_that_have_changed_are_not_drawn(layout: Layout) -> None:
    card = layout.analysis_card("clusters", RUN)
    check_card(card)
    analyse(layout, "responses", gradient=[0, 0.5, 1])
    with pytest.raises(
        Refused, match=r"clusters/.* was made of other responses than are there now"
    ):
        check_card(card)


def test_an_analysis_of_other_weights_is_not_drawn(layout: Layout) -> None:
    longer = replace(SETTINGS, recipe=replace(RECIPE, epochs=3, milestones=()))
    train(longer, layout)
    with pytest.raises(Refused, match=r"responses/.* was made of other weights than are there now"):
        check_card(layout.analysis_card("responses", RUN))
    analyse(layout, "responses", longer)
    check_card(layout.analysis_card("responses", RUN))


def test_an_analysis_by_hand_with_other_options_is_not_drawn(layout: Layout) -> None:
    analyse(layout, "clusters", points=12)
    asked = {str(RUN.cell): OPTIONS["clusters"]}
    with pytest.raises(Refused, match=r"was made with points: 12, the config says 20; run `xkd"):
        check_card(layout.analysis_card("clusters", RUN), asked)


def test_weights_that_are_gone_leave_what_was_made_of_them(layout: Layout) -> None:
    """Whoever keeps the numbers alone, without the runs, can still draw them."""
    for file in layout.run(RUN).iterdir():
        file.unlink()
    check_card(layout.analysis_card("responses", RUN))


def test_a_card_without_what_it_was_made_of_is_none(layout: Layout) -> None:
    path = layout.analysis_card("responses", RUN)
    card = read_json(path)
    assert card["made_of"]["weights"] == digest(layout.run(RUN) / "weights.safetensors")
    write_json(path, {key: value for key, value in card.items() if key != "made_of"})
    with pytest.raises(Refused, match="'made_of' is missing in it"):
        check_card(path)
