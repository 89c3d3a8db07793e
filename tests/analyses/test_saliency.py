"""The analyses of a surrogate: what they leave, and what they refuse."""

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cells import ATTENTIVE, RECIPE, cell, files, prepared, teacher_settings, train
from safetensors.torch import load_file

from xkd.analyses.base import Request, carry_out
from xkd.engine.job import CheckpointSchedule
from xkd.engine.stopping import RESUMABLE
from xkd.errors import Refused
from xkd.measures.perturbation import area
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings

SHORT = replace(RECIPE, epochs=2, milestones=(), clip=5.0)
OPTIONS = {
    "explanations": ["explanation_net", "last_level", "rise", "lime", "gradcam", "random"],
    "options": {"rise": {"samples": 20, "cells": 4}, "lime": {"samples": 20, "cells": 4}},
    "images": 10,
    "step": 8,
    "blur": 5,
    "sigma": 2.0,
    "radius": 0.0,
    "shown": 3,
    "seed": 0,
}


def surrogate(layout: Layout, **chosen: object) -> CellSettings:
    prepared(layout)
    train(teacher_settings(), layout)
    settings = cell("attentive", (0,), ATTENTIVE, SHORT, explain_epochs=2, **chosen)
    train(settings, layout)
    return settings


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Layout, CellSettings]:
    """A surrogate that both analyses have been made of."""
    layout = Layout(tmp_path_factory.mktemp("results"))
    settings = surrogate(layout)
    run = Run(settings.cell, 0)
    carry_out(Request("saliency", run, settings, layout, OPTIONS))
    few = {"explanations": ["lime"], "options": OPTIONS["options"]}
    rounds = {"rounds": 3, "slow_rounds": 2, "warmup": 1}
    carry_out(Request("speed", run, settings, layout, few | rounds))
    return layout, settings


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["explanation"]: row for row in csv.DictReader(file)}


def test_every_explanation_gets_a_row_and_its_means_are_those_of_the_arrays(done):
    layout, settings = done
    folder = layout.analysis("saliency", Run(settings.cell, 0))
    rows = rows_of(folder / "saliency.csv")
    assert list(rows) == OPTIONS["explanations"]
    with np.load(folder / "saliency.npz") as arrays:
        for name, row in rows.items():
            for kind in ("insertion", "deletion", "intensity"):
                assert float(row[kind]) == pytest.approx(arrays[f"{name}/{kind}"].mean(), abs=1e-6)
            curve = torch.from_numpy(arrays[f"{name}/insertion_curve"].astype(float))
            assert curve.shape == (10, 9)
            np.testing.assert_allclose(area(curve), arrays[f"{name}/insertion"], atol=1e-3)
            assert arrays[f"{name}/maps"].shape == (3, 8, 8)
        assert arrays["images"].shape == (3, 8, 8, 1)


def test_curves_start_and_end_alike_for_every_explanation(done):
    layout, settings = done
    rows = rows_of(layout.analysis("saliency", Run(settings.cell, 0)) / "saliency.csv")
    for end in ("insertion_start", "insertion_end"):
        assert len({f"{float(row[end]):.5f}" for row in rows.values()}) == 1


def test_without_known_objects_nothing_points_and_the_true_square_is_left_out(done, capsys):
    layout, settings = done
    rows = rows_of(layout.analysis("saliency", Run(settings.cell, 0)) / "saliency.csv")
    assert all(row["pointing"] == "nan" for row in rows.values())
    options = {**OPTIONS, "explanations": ["true_square", "centre"]}
    carry_out(Request("saliency", Run(settings.cell, 0), settings, layout, options))
    assert "true_square: left out, since stripes knows no objects" in capsys.readouterr().out
    carry_out(Request("saliency", Run(settings.cell, 0), settings, layout, OPTIONS))


def test_agreement_is_counted_on_plain_and_on_erased_images_and_level_by_level(done):
    layout, settings = done
    folder = layout.analysis("saliency", Run(settings.cell, 0))
    found = json.loads((folder / "agreement.json").read_text())
    assert found["levels"][-1] == found["plain"]
    assert len(found["levels"]) == 3
    assert 0 <= found["perturbed"] <= 1
    assert found["classes"] == 4
    assert found["parameters"]["student"] > found["parameters"]["explainer"]


def test_the_same_surrogate_gives_the_same_scores_again(done):
    layout, settings = done
    folder = layout.analysis("saliency", Run(settings.cell, 0))

    def scores() -> list[list[str]]:
        rows = rows_of(folder / "saliency.csv").values()
        return [[value for key, value in row.items() if key != "seconds"] for row in rows]

    before, arrays = scores(), (folder / "saliency.npz").read_bytes()
    carry_out(Request("saliency", Run(settings.cell, 0), settings, layout, OPTIONS))
    assert scores() == before
    assert (folder / "saliency.npz").read_bytes() == arrays


def test_speed_is_a_ratio_to_the_targets_own_inference(done):
    layout, settings = done
    rows = rows_of(layout.analysis("speed", Run(settings.cell, 0)) / "speed.csv")
    assert float(rows["inference"]["ratio"]) == 1
    assert {"student", "explanation_net", "gradcam", "last_level", "lime"} <= rows.keys()
    base = float(rows["inference"]["seconds"])
    for row in rows.values():
        assert float(row["ratio"]) == pytest.approx(base / float(row["seconds"]))
    assert float(rows["lime"]["ratio"]) < 0.5
    assert (rows["lime"]["rounds"], rows["student"]["rounds"]) == ("2", "3")


def test_a_run_that_is_no_surrogate_is_refused_in_one_line(done):
    layout, _ = done
    settings = teacher_settings()
    request = Request("saliency", Run(settings.cell, 0), settings, layout, OPTIONS)
    with pytest.raises(Refused, match="its network is a ResNet; expected a run of method"):
        carry_out(request)


def test_explanations_of_all_classes_and_options_that_do_not_fit_are_refused(done):
    layout, settings = done
    run = Run(settings.cell, 0)
    wrong = {**OPTIONS, "explanations": ["gradcam_signed"]}
    with pytest.raises(Refused, match="explanations: found 'gradcam_signed', expected some of"):
        carry_out(Request("saliency", run, settings, layout, wrong))
    wrong = {**OPTIONS, "explanations": ["rise"], "options": {"rise": {"sampels": 3}}}
    with pytest.raises(Refused, match="unknown key 'sampels'; did you mean 'samples'"):
        carry_out(Request("saliency", run, settings, layout, wrong))
    carry_out(Request("saliency", run, settings, layout, OPTIONS))


# Training -----------------------------------------------------------------------------------------


def test_a_collapsed_explanation_network_ends_its_seed_in_one_line_and_leaves_no_run(tmp_path):
    layout = Layout(tmp_path)
    weights = {"kd": 0.9, "ce": 0.1, "area": 1000.0}  # nothing but dark maps pays
    with pytest.raises(Refused, match="the explanation network has collapsed: the mean") as found:
        surrogate(layout, weights=weights, explain_lr=5.0)
    assert "\n" not in str(found.value)
    settings = cell("attentive", (0,), ATTENTIVE, SHORT, explain_epochs=2)
    assert not (layout.run(Run(settings.cell, 0)) / "run.yaml").exists()


def test_a_stopped_surrogate_continues_to_the_same_bits(tmp_path, monkeypatch):
    whole, parts = Layout(tmp_path / "whole"), Layout(tmp_path / "parts")
    settings = surrogate(whole, perturbed=True)
    prepared(parts)
    train(teacher_settings(), parts)
    steps, original = [0], CheckpointSchedule.after_step

    def after_step(self: CheckpointSchedule) -> None:
        steps[0] += 1
        if steps[0] in (3, 13):  # within the student's training, and within E's
            signal.raise_signal(signal.SIGTERM)
        original(self)

    monkeypatch.setattr(CheckpointSchedule, "after_step", after_step)
    assert train(settings, parts) == RESUMABLE
    assert train(settings, parts) == RESUMABLE
    assert train(settings, parts) == 0
    assert files(settings, parts, 0) == files(settings, whole, 0)


def test_the_explanation_network_is_stored_with_its_student(done):
    layout, settings = done
    weights = load_file(layout.run(Run(settings.cell, 0)) / "weights.safetensors")
    assert any(name.startswith("explainer.") for name in weights)
    assert any(name.startswith("body.") for name in weights)
