"""`xkd compare`: seeds, methods, code versions; and the statistics behind it."""

import json
import math
import shutil

import numpy as np
import pytest
from made_demo import CE, GRAD, STUDENT
from scipy import stats

from xkd.files import read_json, read_yaml, write_json, write_yaml
from xkd.inspection.differences import agreement, difference

PAIRS = [(0, 0), (1, 1), (2, 2)]


def compared(made, capsys, a, b) -> tuple[int, dict]:
    status = made.xkd("compare", a, b, "--json")
    return status, json.loads(capsys.readouterr().out)


def test_a_cell_is_equal_to_itself_and_the_status_says_so(made, capsys):
    status, found = compared(made, capsys, CE, CE)
    assert (status, found["equal"]) == (0, True)
    assert found["settings"] == {}
    assert found["files"] == "the same bytes in every file of every pair"
    assert all(line.endswith("alike in all 2 epochs") for line in found["curves"])


def test_a_copy_elsewhere_is_equal_whenever_and_wherever_it_was_trained(made, capsys, tmp_path):
    copy = shutil.copytree(made.layout.root, tmp_path / "demo")
    card = copy / "runs" / CE / "seed0" / "run.yaml"
    write_yaml(card, {**read_yaml(card), "host": "elsewhere", "seconds": 9.0})
    assert compared(made, capsys, CE, copy / "runs" / CE)[0] == 0


def test_two_seeds_differ_from_the_first_epoch_on_and_nothing_else_does(made, capsys):
    status, found = compared(made, capsys, f"{CE}/seed0", f"{CE}/seed1")
    assert (status, found["equal"]) == (1, False)
    assert found["settings"] == {}
    assert found["code"].startswith("the same")
    assert found["curves"][0].startswith("seed 0 | seed 1: part in epoch 1: ")
    gap = found["differences"]["top1"]
    scores = [json.loads((made.run(CE, s) / "metrics.json").read_text())["top1"] for s in (0, 1)]
    assert gap["mean"] == pytest.approx(scores[1] - scores[0])
    assert gap["low"] is None


def test_two_methods_differ_in_settings_code_and_numbers_with_intervals(made, capsys):
    status, found = compared(made, capsys, CE, GRAD)
    assert status == 1
    assert found["settings"]["method.uses"] == ["ce", "le"]
    assert found["settings"]["method.options.alpha"] == [None, 0.9]
    modules = found["code"][-1]
    assert modules.startswith("modules that differ: ")
    assert "xkd.methods.le" in modules
    assert "xkd.engine.training" not in modules  # both use it as it is
    gap = found["differences"]["nll"]
    assert gap["low"] < gap["mean"] < gap["high"]
    assert "McNemar p = " in found["predictions"][0]


def test_two_code_versions_name_the_modules_in_which_they_differ(made, capsys, tmp_path):
    copy = shutil.copytree(made.layout.root, tmp_path / "demo")
    card = copy / "runs" / CE / "seed0" / "run.yaml"
    content = read_yaml(card)
    digest, rest = content["fingerprint"].split("-")
    write_yaml(card, {**content, "fingerprint": f"{'0' * 16}-{rest}"})
    modules = read_json(copy / ".code" / f"{digest}.json")
    write_json(copy / ".code" / f"{'0' * 16}.json", {**modules, "xkd.losses": "changed"})
    status, found = compared(made, capsys, f"{CE}/seed0", copy / "runs" / CE / "seed0")
    assert (status, found["equal"]) == (1, False)
    assert found["code"][-1] == "modules that differ: xkd.losses"
    assert found["files"] == "the same bytes in every file of every pair"


def test_code_that_was_not_written_down_is_said_to_be_so(made, capsys, tmp_path):
    copy = shutil.copytree(made.layout.root, tmp_path / "demo")
    shutil.rmtree(copy / ".code")
    _, found = compared(made, capsys, CE, copy / "runs" / GRAD)
    assert found["code"][-1] == "by module: not written down for both"


def test_a_student_and_a_baseline_differ_in_their_teachers(made, capsys):
    _, found = compared(made, capsys, STUDENT, CE)
    assert found["teacher"].startswith("A digits/half_resnet20/ce, seed 0, weights ")
    assert found["teacher"].endswith("; B none")


@pytest.mark.parametrize("word", ["le_table3", "digits/mlp256/dropout"])
def test_what_has_no_runs_is_refused_in_one_line(made, capsys, word):
    assert made.xkd("compare", word, CE) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_interval_of_pairs_is_students():
    ours, theirs = {0: 0.90, 1: 0.91, 2: 0.89}, {0: 0.92, 1: 0.915, 2: 0.92}
    found = difference(ours, theirs, PAIRS)
    expected = stats.ttest_rel(list(theirs.values()), list(ours.values())).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((0.02 + 0.005 + 0.03) / 3)


def test_unpaired_seeds_have_the_interval_of_welch():
    a, b = {0: 0.90, 1: 0.91, 2: 0.89}, {5: 0.92, 6: 0.95}
    found = difference(a, b, [])
    # Welch by hand: variances 1e-4 of three and 4.5e-4 of two
    error = math.sqrt(1e-4 / 3 + 4.5e-4 / 2)
    freedom = error**4 / ((1e-4 / 3) ** 2 / 2 + (4.5e-4 / 2) ** 2 / 1)
    half = stats.t.ppf(0.975, freedom) * error
    assert (found.low, found.high) == pytest.approx((0.035 - half, 0.035 + half))


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ({0: 0.92, 1: 0.93, 2: 0.94}, "all pairs differ alike, no interval"),
        ({0: 0.90, 1: 0.91, 2: 0.92}, "equal in all pairs"),
    ],
)
def test_differences_that_are_all_equal_have_no_interval(theirs, why):
    found = difference({0: 0.90, 1: 0.91, 2: 0.92}, theirs, PAIRS)
    assert found.why == why
    assert math.isnan(found.low)


def test_agreement_is_counted_image_by_image():
    labels = np.array([0, 0, 1, 1, 2])
    ours = {"labels": labels, "predicted": np.array([0, 0, 1, 0, 0])}
    theirs = {"labels": labels, "predicted": np.array([0, 1, 0, 1, 0])}
    assert agreement(ours, theirs) == (
        "40.0 % predicted alike; both right 1, only A 2, only B 1, none 1; McNemar p = 1"
    )
