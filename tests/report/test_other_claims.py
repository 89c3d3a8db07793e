"""Claims that are no orders of methods: every word reached by data made for it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_results import LABELS, item, printed_file, runs

from xkd.files import write_json
from xkd.report import claims, verdicts

CELL = "cifar10/resnet14/le_gradcam"


def judged(claim: dict, inputs: dict, **more: object) -> list[dict]:
    known = {"claims": [claim | {"says": "so"}], "methods": [], "number": "Table 1"}
    shown = more.pop("shown", [CELL])
    printed = more.pop("printed", None)
    frame = more.pop("frame", runs({CELL: 0.9}).iloc[:0])
    entry = item(**known | {"runs": [[cell, [0]] for cell in shown]} | more)
    found = claims.judge(frame, entry, printed, inputs)
    verdicts.page("A", [entry | {"name": "a"}], [found])  # every kind can be shown
    return found.to_dict("records")


def heat_map(folder: Path, named: list[float], others: list[float]) -> Path:
    """Classes 0-1, 0-2, ... with the similarities given to named pairs first."""
    names = [str(k) for k in range(4)]
    rows, columns = np.triu_indices(4, 1)
    similarity = np.eye(4)
    for i, j, value in zip(rows, columns, [*named, *others], strict=True):
        similarity[i, j] = similarity[j, i] = value
    pairs = [(names[i], names[j]) for i, j in zip(rows, columns, strict=True)][: len(named)]
    path = folder / "class_similarity.npz"
    np.savez(path, similarity=similarity, class_names=names, pairs=pairs)
    return path


@pytest.mark.parametrize(
    ("named", "others", "p", "word"),
    [
        # of 20 ways to choose 3 of 6 ranks, one is as far out: p = 2/20
        ([0.9, 0.8, 0.7], [0.1, 0.2, 0.3], 0.1, "undecided"),
        ([0.5, 0.1, 0.4], [0.2, 0.3, 0.6], 1.0, "undecided"),
    ],
)
def test_named_pairs_are_ranked_against_all_others_exactly(tmp_path, named, others, p, word):
    files = {"similarity": heat_map(tmp_path, named, others)}
    (line,) = judged({"most_similar": "named"}, files)
    assert line["p"] == pytest.approx(p)
    assert line["difference"] == pytest.approx(np.mean(named) - np.mean(others))
    assert (line["n"], line["verdict"], line["unit"]) == (3, word, "cosine")
    assert line["better"] == "0–1, 0–2, 0–3"


@pytest.mark.parametrize(("sign", "word"), [(1, "holds"), (-1, "contradicted")])
def test_enough_pairs_on_top_hold_and_at_the_bottom_contradict(tmp_path, sign, word):
    names = [str(k) for k in range(6)]
    rows, columns = np.triu_indices(6, 1)
    similarity = np.eye(6)
    for place, (i, j) in enumerate(zip(rows, columns, strict=True)):
        similarity[i, j] = similarity[j, i] = sign * (1 - place / 20)
    pairs = [(names[i], names[j]) for i, j in zip(rows, columns, strict=True)][:4]
    path = tmp_path / "class_similarity.npz"
    np.savez(path, similarity=similarity, class_names=names, pairs=pairs)
    (line,) = judged({"most_similar": "named"}, {"similarity": path})
    assert line["p"] == pytest.approx(2 / 1365)  # 4 of 15 ranks in one of two ways
    assert line["verdict"] == word


def answers(folder: Path, before: float, after: float, images: int = 1000) -> Path:
    def split(top1: float) -> dict:
        return {"top1": top1, "reliability": {"count": [images // 2, images - images // 2]}}

    kinds = {
        "gradient-0": {"kind": "gradient", "gamma": 0, "test": split(before)},
        "sign-0.01": {"kind": "sign", "gamma": 0.01, "test": split(after)},
    }
    folder.mkdir()
    path = folder / "responses.json"
    teacher = "cifar100/resnet20/ce/seed0"
    write_json(path, {"teacher": teacher, "reinforcements": kinds})
    return path


@pytest.mark.parametrize(
    ("after", "found"), [(0.90, "holds"), (0.69, "undecided"), (0.50, "contradicted")]
)
def test_a_score_rises_where_the_interval_over_images_lies_above_zero(tmp_path, after, found):
    claim = {"rises": "top1", "to": "sign"}
    (line,) = judged(claim, {"responses": answers(tmp_path / "a", 0.68, after)})
    error = ((0.68 * 0.32 + after * (1 - after)) / 1000) ** 0.5
    half = stats.norm.ppf(0.975) * error
    assert line["difference"] == pytest.approx(after - 0.68)
    assert (line["low"], line["high"]) == pytest.approx((after - 0.68 - half, after - 0.68 + half))
    assert (line["n"], line["counts"], line["found"]) == (1000, "images", found)


def test_a_rise_is_held_against_the_difference_of_two_printed_columns(tmp_path):
    claim = {"rises": "top1", "to": "sign", "printed": ["Scratch (x)", "Oracle (x*)"]}
    path = printed_file("oracle_table1")
    (line,) = judged(claim, {"responses": answers(tmp_path / "a", 0.6868, 0.80)}, printed=path)
    assert line["published"] == pytest.approx(0.9060 - 0.6868)
    assert line["verdict"] == "smaller than published"


def test_teachers_that_differ_from_the_papers_are_judged_but_not_compared(tmp_path):
    claim = {"rises": "top1", "to": "sign", "printed": ["Scratch (x)", "Oracle (x*)"]}
    differs = {"cifar100/resnet20/ce": [["recipe", "epochs", 6, 240]]}
    path = printed_file("oracle_table1")
    files = {"responses": answers(tmp_path / "a", 0.4, 0.5)}
    (line,) = judged(claim, files, printed=path, differs=differs, shown=["cifar100/resnet20/ce"])
    assert (line["verdict"], line["found"]) == ("not comparable", "holds")
    assert pd.isna(line["published"])


@pytest.mark.parametrize(
    ("values", "tau", "word"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, "holds"),
        ([0.5, 0.4, 0.3, 0.2, 0.1], -1, "contradicted"),
        ([0.1, 0.3, 0.2, 0.5, 0.4], 0.6, "undecided"),
        ([0.1, 0.2], np.nan, "not measured"),
    ],
)
def test_growth_is_kendalls_tau_over_the_means_of_embedding_seeds(tmp_path, values, tau, word):
    rows = [
        {"kind": "gradient", "gamma": gamma, "split": "test", "space": "embedding", "seed": seed}
        | {"metric": "euclidean", "labels": "super", "silhouette": value + seed / 1000, "top1": 0.9}
        for gamma, value in enumerate(values)
        for seed in (0, 1)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "clusters.csv", index=False)
    claim = {"grows": "silhouette", "with": "gamma", "where": {"split": "test"}}
    (line,) = judged(claim, {"clusters": tmp_path / "clusters.csv"})
    assert line["difference"] == pytest.approx(tau, nan_ok=True)
    assert line["verdict"] == word
    if word == "holds":
        assert line["p"] == pytest.approx(2 / 120)  # two of the 5! orders


def test_numbers_within_tolerance_are_as_good_as_the_farthest_of_them():
    frame = runs({"cifar10/resnet14/ce": 0.9026, "cifar10/resnet8/ce": 0.8695})
    path = printed_file("le_table2")
    near, far, whole = judged({"within": "top1"}, {}, frame=frame, printed=path, methods=["ce"])
    assert (near["verdict"], far["verdict"]) == ("within tolerance", "outside tolerance")
    assert far["difference"] == pytest.approx(-0.01)
    assert (whole["network"], whole["rows"], whole["verdict"]) == ("", 2, "outside tolerance")
    assert LABELS["methods"]["ce"] == "CE"
