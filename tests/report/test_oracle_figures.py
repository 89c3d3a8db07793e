"""Figures of the Oracle paper that say whose images and whose numbers they show."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from synthetic_results import LABELS, item, responses

from xkd.report import arrays, published

PAPER = Path(__file__).resolve().parents[2] / "workflow" / "papers" / "oracle"


def figure(name: str) -> ModuleType:
    spec = spec_from_file_location(name, PAPER / "figures" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def printed() -> pd.DataFrame:
    path = PAPER / "published" / "oracle_official_repo.csv"
    return published.load(path, LABELS, "ECE notebook")


def test_published_calibration_errors_stand_beside_ours(printed: pd.DataFrame) -> None:
    answers = responses({"cifar100/resnet20": 0.7}, gammas=(0, 0.5, 15))
    keys = ["gradient-0", "gradient-0.5", "gradient-15"]
    entry = {**item(), "settings": {"reinforcements": keys}}
    module = figure("oracle_reliability")
    found = module.measured(answers, entry, printed).groupby("reinforcement").published_ece.first()
    assert found["gradient-15"] == pytest.approx(0.0138, abs=5e-5)
    assert found["gradient-0"] == pytest.approx(0.0663, abs=5e-5)
    assert pd.isna(found["gradient-0.5"])
    drawn = module.draw(answers, entry, printed)
    texts = [text.get_text() for axes in drawn.axes for text in axes.texts]
    assert sum("(published 0.0138)" in text for text in texts) == 1
    alone = module.draw(answers, entry)
    assert not any("published" in t.get_text() for axes in alone.axes for t in axes.texts)


@pytest.mark.parametrize(("split", "words"), [("train", "training"), ("test", "test")])
def test_figure_3_says_whose_images_it_draws(split: str, words: str) -> None:
    points = {"gradient-0": np.random.default_rng(0).random((60, 2))}
    groups = np.repeat([0, 1, 2], 20)
    names = ["a", "b", "c"]
    shown = arrays.Embeddings(
        points, groups, groups, names, np.zeros((0, 8, 8, 1)), np.array([], int), split
    )
    (legend,) = figure("oracle_figure3").draw(shown, item()).legends
    assert legend.get_title().get_text() == f"60 {words} images, without augmentation"
