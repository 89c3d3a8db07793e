"""Tables and figures of explanations from a few invented rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import item, script

from xkd.files import write_json
from xkd.plan.runs import Run
from xkd.report import published, render, saliency, saliency_tables

RUN = "located_digits/half_attentive8/attentive/from-half_resnet8-target"
LABELS = {
    "datasets": {"located_digits": "Located digits", "cub200": "CUB-200-2011"},
    "networks": {"half_attentive8": "Attentive ResNet8/2"},
    "methods": {"attentive": "Attentive"},
}
MAPS = {"explanation_net": 0.92, "rise": 0.93, "gradcam": 0.91, "random": 0.95}
HEADER = "paper,table,dataset,teacher,student,model,method,metric,value,std,note\n"
PRINTED = (
    ("CUB-200-2011", "Explanation network", "insertion_auc", 0.7136),
    ("CUB-200-2011", "RISE", "insertion_auc", 0.7461),
    ("CUB-200-2011", "none", "top1_accuracy", 0.8172),
    ("CUB-200-2011", "attentive distillation", "top1_accuracy", 0.84),
    ("CUB-200-2011", "", "n_classes", 200),
)


def printed(tmp_path: Path) -> pd.DataFrame:
    rows = (f"P,T,{d},,,,{m},{metric},{v},,\n" for d, m, metric, v in PRINTED)
    (tmp_path / "printed.csv").write_text(HEADER + "".join(rows))
    return published.load(tmp_path / "printed.csv", LABELS)


def scores(dataset: str = "located_digits", seeds: int = 3) -> pd.DataFrame:
    rows = [
        {
            "dataset": dataset,
            "network": "half_attentive8",
            "method": "attentive",
            "teacher": "half_resnet8-target",
            "seed": seed,
            "explanation": name,
            "insertion": value + 0.01 * (seed - 1),
            "deletion": 1 - value,
            "intensity": 0.2,
            "pointing": np.nan,
        }
        for name, value in MAPS.items()
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def agreement(dataset: str = "cub200") -> pd.DataFrame:
    told = {
        "classes": 200, "counts_train": 5994, "counts_test": 5794, "target_top1": 0.8,
        "student_top1": 0.75, "plain": 0.9, "perturbed": 0.7, "levels": [0.5, 0.8, 0.9],
        "parameters_target": 20000, "parameters_student": 30000, "parameters_explainer": 8000,
    }  # fmt: skip
    place = {"dataset": dataset, "network": "half_attentive8", "method": "attentive"}
    return pd.DataFrame([{**place, "teacher": "t", "seed": 0, **told}])


def arrays(images: int = 5) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    found = {
        "explanations": np.array(list(MAPS)),
        "chosen": np.arange(images),
        "classes": np.arange(images),
        "labels": np.arange(images),
        "images": draw.integers(0, 255, (3, 8, 8, 1)).astype(np.uint8),
        "class_names": np.array([str(k) for k in range(10)]),
    }
    for name in MAPS:
        found[f"{name}/maps"] = draw.random((3, 8, 8))
        for kind in ("insertion", "deletion"):
            found[f"{name}/{kind}_curve"] = draw.random((images, 9))
            found[f"{name}/{kind}"] = draw.random(images)
    return found


def test_explanations_stand_in_rows_with_mean_and_spread_and_the_best_is_no_control(tmp_path):
    found = saliency_tables.table(
        scores(), ["insertion", "pointing"], item(labels=LABELS), printed(tmp_path)
    )
    (block,) = found.blocks  # nothing points, so there is no block for it
    assert block.columns == ("Located digits",)
    rows = {row.headings[0]: row.lines[0].cells[0] for row in block.rows}
    assert rows["RISE"].text == "0.9300 ± 0.0100 *"
    assert rows["Random"].text == "0.9500 ± 0.0100"  # a control, though it is larger
    assert sum("*" in cell.text for cell in rows.values()) == 1
    assert [row.headings[1] for row in block.rows] == ["surrogate", "target", "target", "control"]


def test_printed_numbers_stand_beside_ours_where_data_and_training_are_the_papers(tmp_path):
    found = saliency_tables.table(
        scores("cub200"), ["insertion"], item(labels=LABELS), printed(tmp_path)
    )
    lines = {line.label: line.cells[0].text for line in found.blocks[0].rows[0].lines}
    assert lines == {
        "ours (n = 3)": "0.9200 ± 0.0100", "published": "0.7136", "difference": "+0.2064"
    }  # fmt: skip
    assert "0.7136" in render.to_markdown(found)


def test_printed_numbers_stand_apart_where_they_are_not_comparable(tmp_path):
    differs = {RUN: [["data", "dataset", "located_digits", "cub200"]]}
    described = item(labels=LABELS, differs=differs, runs=[[RUN, [0, 1, 2]]])
    found = saliency_tables.table(scores(), ["insertion"], described, printed(tmp_path))
    ours, theirs = found.blocks
    assert all(line.label.startswith("ours") for row in ours.rows for line in row.lines)
    assert theirs.title.startswith("Published")
    assert found.banner


def test_accuracy_shows_target_student_and_both_agreements(tmp_path):
    build = script("attentive_accuracy").build
    found = build(agreement(), printed(tmp_path), item(labels=LABELS))
    first, parts = found.blocks
    lines = {line.label: [cell.text for cell in line.cells] for line in first.rows[0].lines}
    assert lines["ours (n = 1)"] == ["80.00", "75.00", "90.00", "70.00"]
    assert lines["published"] == ["81.72", "84.00", "–", "–"]
    assert lines["difference"] == ["−1.72", "−9.00", "–", "–"]
    shown = [cell.text for cell in parts.rows[0].lines[0].cells]
    assert shown == ["50.00", "80.00", "90.00", "20,000", "30,000", "8,000"]


def test_data_sets_are_counted_once_beside_print(tmp_path):
    twice = pd.concat([agreement(), agreement().assign(seed=1)])
    build = script("attentive_datasets").build
    found = build(twice, printed(tmp_path), item(labels=LABELS))
    (row,) = found.blocks[0].rows
    assert [cell.text for cell in row.lines[0].cells] == ["200", "5,994", "5,794"]
    assert [cell.text for cell in row.lines[1].cells] == ["200", "–", "–"]


def test_runs_are_known_by_the_card_beside_their_files(tmp_path):
    write_json(tmp_path / "analysis.json", {"run": f"{RUN}/seed2"})
    pd.DataFrame([{"explanation": "rise", "insertion": 0.5}]).to_csv(tmp_path / "saliency.csv")
    (row,) = saliency.read(tmp_path / "saliency.csv").to_dict("records")
    assert (row["dataset"], row["teacher"], row["seed"]) == (
        "located_digits",
        "half_resnet8-target",
        2,
    )


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_maps_have_an_image_its_explanations_and_a_pair_of_curves_below_each(scale):
    module = script("attentive_maps")
    found = [(Run.parse(f"{RUN}/seed0"), arrays()), (Run.parse(f"{RUN}/seed1"), arrays())]
    figure = module.draw(found, item(scale, labels=LABELS))
    shown = [name for name in module.SHOWN if name in MAPS]
    assert len(figure.axes) == 2 * 3 * (1 + len(shown))  # three images of the first seed
    curves = [axes for axes in figure.axes if len(axes.lines) == 2]
    assert len(curves) == 3 * len(shown)
    assert len(module.numbers(found)) == 3 * len(shown)


def test_mean_curves_average_over_seeds_before_images():
    module = script("attentive_curves")
    one, other = arrays(), arrays()
    other["rise/insertion_curve"] = one["rise/insertion_curve"] + 0.2
    found = [(Run.parse(f"{RUN}/seed0"), one), (Run.parse(f"{RUN}/seed1"), other)]
    frame = module.measured(found)
    line = frame[(frame.explanation == "rise") & (frame.kind == "insertion")]
    mean = one["rise/insertion_curve"].mean(0) + 0.1
    np.testing.assert_allclose(line["mean"], mean)
    spread = (one["rise/insertion_curve"] + 0.1).std(0, ddof=1)
    np.testing.assert_allclose(line.half_width, 1.96 * spread / 5**0.5)
    figure = module.draw(frame, item(labels=LABELS))
    assert len(figure.axes) == 2
    assert all(axes.get_xlabel() for axes in figure.axes)


def test_cost_shows_every_explanation_that_was_scored_and_timed():
    module = script("attentive_cost")
    times = scores(seeds=1)[["dataset", "network", "method", "teacher", "seed", "explanation"]]
    times = pd.concat([times, times.iloc[:1].assign(explanation="inference")])
    frame = module.measured(scores(), times.assign(seconds=0.002))
    assert set(frame.explanation) == {*MAPS, "inference"}
    figure = module.draw(frame, item(labels=LABELS))
    (axes,) = [axes for axes in figure.axes if axes.lines]
    assert len(axes.lines) == len(MAPS) + 1
    assert axes.get_xscale() == "log"
