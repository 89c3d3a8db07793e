"""Claims about explanations, image by image, on invented scores."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon
from synthetic_results import item

from xkd.files import write_json
from xkd.report import claims, map_claims, saliency, verdicts
from xkd.report.saliency import kind_of, name_of

RUN = "located_digits/half_attentive8/attentive/from-half_resnet8-target"
LABELS = {
    "datasets": {"located_digits": "Located digits"},
    "networks": {"half_attentive8": "Attentive"},
    "methods": {"attentive": "Attentive"},
}
CLAIM = {
    "maps": ["explanation_net", ["last_level", "random"]],
    "measure": "insertion",
    "better": "higher",
    "paired": "image",
    "says": "ours is best",
}
HEADER = "paper,table,dataset,teacher,student,model,method,metric,value,std,note\n"


def written(folder: Path, seed: int, scores: dict[str, np.ndarray]) -> dict[str, str]:
    """Files of an analysis with these insertion areas per image."""
    place = folder / f"seed{seed}"
    place.mkdir(parents=True)
    write_json(place / "analysis.json", {"run": f"{RUN}/seed{seed}"})
    arrays = {f"{name}/insertion": values for name, values in scores.items()}
    np.savez(place / "saliency.npz", explanations=np.array(list(scores)), **arrays)
    rows = [
        {"explanation": name, "insertion": values.mean(), "ratio": 0.5 + seed / 10}
        for name, values in scores.items()
    ]
    pd.DataFrame(rows).to_csv(place / "saliency.csv", index=False)
    return {"saliency_images": str(place / "saliency.npz"), "saliency": str(place / "saliency.csv")}


@pytest.fixture
def inputs(tmp_path) -> dict[str, list[str]]:
    """Three seeds of 50 images: ours 0.02 above the last level on average, far above random."""
    draw = np.random.default_rng(0)
    files = []
    for seed in range(3):
        ours = 0.9 + draw.normal(0, 0.01, 50)
        scores = {"explanation_net": ours, "last_level": ours - draw.normal(0.02, 0.02, 50)}
        scores["random"] = np.full(50, 0.3)
        files.append(written(tmp_path, seed, scores))
    return {key: [one[key] for one in files] for key in files[0]}


def judged(inputs, tmp_path, printed: str = "", **more) -> pd.DataFrame:
    path = None
    if printed:
        path = tmp_path / "printed.csv"
        path.write_text(HEADER + printed)
    described = item(labels=LABELS, methods=["attentive"], claims=[{**CLAIM, **more}])
    runs = pd.DataFrame(
        [["located_digits", "half_attentive8", "attentive", "half_resnet8-target", 0, 0.9]],
        columns=["dataset", "network", "method", "teacher", "seed", "top1"],
    )
    return claims.judge(runs, described, path, inputs)


def test_differences_are_paired_by_image_after_averaging_over_seeds(inputs, tmp_path):
    frame = judged(inputs, tmp_path)
    line = frame[frame.than == "Last level"].iloc[0]
    arrays = [np.load(path) for path in inputs["saliency_images"]]
    ours, theirs = (
        np.mean([a[f"{name}/insertion"] for a in arrays], axis=0)
        for name in ("explanation_net", "last_level")
    )
    assert line.n == 50
    assert line.counts == "images"
    assert line.difference == pytest.approx((ours - theirs).mean())
    assert line.low < line.difference < line.high
    assert line.p == pytest.approx(wilcoxon((ours - theirs).round(12)).pvalue)
    assert line.found == line.verdict == "holds"
    assert set(frame.than) == {"Last level", "Random"}


def test_the_bootstrap_interval_is_close_to_the_normal_one_for_many_images():
    values = np.random.default_rng(1).normal(0.5, 2, 2000)
    effect = map_claims.interval(values)
    half = 1.96 * values.std(ddof=1) / 2000**0.5
    assert effect.low == pytest.approx(values.mean() - half, abs=0.01)
    assert effect.high == pytest.approx(values.mean() + half, abs=0.01)
    assert map_claims.interval(values) == effect  # the same draw every time


def test_where_lower_is_better_the_sign_turns(inputs, tmp_path):
    frame = judged(inputs, tmp_path, better="lower")
    assert set(frame.found) == {"contradicted"}


def test_published_differences_are_of_the_same_two_explanations(inputs, tmp_path):
    printed = "".join(
        f"P,T,Located digits,,,,{name},insertion_auc,{value},,\n"
        for name, value in (("Explanation network", 0.7049), ("Last level", 0.6517))
    )
    frame = judged(inputs, tmp_path, printed)
    line = frame[frame.than == "Last level"].iloc[0]
    assert line.published == pytest.approx(0.0532)
    assert line.verdict == "smaller than published"
    assert np.isnan(frame[frame.than == "Random"].published.iloc[0])


def test_what_a_run_has_one_number_of_is_paired_by_seed(inputs, tmp_path):
    frame = judged(inputs, tmp_path, measure="ratio", paired="seed")
    assert set(frame.counts) == {"seeds"}
    assert set(frame.n) == {3}
    assert set(frame.difference) == {0.0}
    assert set(frame.found) == {"undecided"}


def test_an_explanation_that_was_not_scored_is_not_measured(inputs, tmp_path):
    frame = judged(inputs, tmp_path, maps=["explanation_net", "rise"])
    assert frame.verdict.tolist() == ["not measured"]
    assert frame.than.tolist() == ["RISE"]


def test_pairs_that_all_differ_alike_have_no_interval():
    effect = map_claims.interval(np.full(10, 0.25))
    assert (effect.n, effect.mean) == (10, 0.25)
    assert np.isnan(effect.low)
    assert map_claims.interval(np.array([])).n == 0


def test_verdicts_are_shown_with_three_decimals_and_the_rule_for_images(inputs, tmp_path):
    described = item(labels=LABELS, claims=[CLAIM], runs=[[RUN, [0, 1, 2]]])
    frame = judged(inputs, tmp_path)
    notes = " ".join(verdicts.notes(frame, described))
    assert "bootstrap interval over images" in notes
    assert "paired by seed" not in notes
    block = verdicts.block("Claims", frame, LABELS)
    assert block.rows[0].headings == ("1", "Explanation network", "Last level")
    assert re.match(r"\+0\.0\d\d \[\+0\.\d{3}, ", block.rows[0].lines[0].cells[0].text)


def test_explanations_are_called_and_sorted_by_what_their_files_declare():
    assert name_of("rise") == "RISE"
    assert name_of("inference") == "Normal inference"
    assert name_of("nothing_of_the_kind") == "nothing_of_the_kind"
    kinds = {name: kind_of(name) for name in ("explanation_net", "gradcam", "random", "inference")}
    assert list(kinds.values()) == ["surrogate", "target", "control", ""]
    assert saliency.look("explanation_net").color != saliency.look("gradcam").color
