"""`xkd inspect` on everything that a demo leaves, whole and damaged."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_demo import ASKED, CE, GRAD, PEERS, ROOT, SEARCHED, SMALL, STUDENT, TEACHER

from xkd.__main__ import main
from xkd.errors import Refused
from xkd.files import write_json
from xkd.inspection import describe, origin
from xkd.inspection.target import find
from xkd.inspection.text import sparkline
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.wording import percent, spread


def facts(made, word) -> dict:
    return describe.describe(find(str(word), made.plan, made.results)).facts


def refusal(made, path) -> str:
    """The words in which a file is refused; none if it is described."""
    try:
        facts(made, path)
    except Refused as problem:
        return str(problem)
    return ""


def files_of(made) -> list:
    """One of every kind of file: those that differ in name alone are one kind."""
    kinds = {}
    for path in sorted(made.layout.root.rglob("*")):
        if path.is_file() and path.name != "lock.guard":
            kinds.setdefault((path.relative_to(made.layout.root).parts[0], path.name), path)
    return list(kinds.values())


def test_every_file_that_the_demo_leaves_is_described_quickly(made):
    files = files_of(made)
    assert {path.suffix for path in files} >= {".csv", ".json", ".npz", ".npy", ".yaml", ".png"}
    for path in files:
        began = time.process_time()
        lines = describe.describe(find(str(path), made.plan, made.results)).lines()
        assert time.process_time() - began < 1, path  # and a second or two for the start
        assert lines[1].strip() == str(path)
        assert len(lines) > 3, path


def test_a_cell_shows_its_accuracy_curves_settings_users_and_command(made, capsys):
    assert made.xkd("inspect", CE) == 0
    printed = capsys.readouterr().out
    runs = json.loads(made.layout.root.joinpath("runs", CE, "cell.json").read_text())["runs"]
    scores = [run["metrics"]["top1"] for run in runs.values()]
    assert f"test {spread(scores)} (seeds 0-1: " in printed
    assert "recipes.r_mlp: epochs 2" in printed
    assert "le_table3 (LE Table 3)" in printed
    assert f"xkd train {CE} --set 'seeds=[0, 1]'" in printed
    assert printed.count("matches config and code") == 2
    assert "digits/mlp256/ce.log" in printed


def test_a_cell_that_is_not_there_yet_names_the_command_that_makes_it(made):
    found = facts(made, "digits/mlp256/dropout")
    assert found["state"] == "not there yet"
    assert found["remake"] == "xkd train digits/mlp256/dropout"


def test_a_run_trained_with_other_settings_is_called_stale_with_the_first_difference(made):
    other = Plan(config.load(ROOT / "config.yaml", [*SMALL, "recipes.r_mlp.lr=0.5"]))
    found = describe.describe(find(f"{CE}/seed0", other, made.results)).facts
    assert found["state"] == "stale: trained with recipe.lr: 0.02, the config says 0.5"


def test_a_run_of_other_code_is_called_stale(made, monkeypatch):
    monkeypatch.setattr(origin.jobs, "code_of_training", lambda settings: "f" * 16)
    assert facts(made, f"{CE}/seed1")["state"].startswith("stale: trained by code ")


def test_a_student_names_its_teacher_and_the_teacher_its_students(made):
    assert facts(made, f"{STUDENT}/seed0")["teacher"] == f"{TEACHER}, seed 0"
    assert STUDENT in facts(made, TEACHER)["teacher of"]


def test_weights_count_the_parameters_of_the_manifest(made):
    manifest = json.loads((made.layout.root / "runs" / STUDENT / "cell.json").read_text())
    found = facts(made, made.run(STUDENT) / "weights.safetensors")
    assert found["weights"].startswith(f"{manifest['parameters']:,} parameters ")
    assert "none not finite" in found["weights"]


def test_predictions_give_the_accuracy_that_training_measured(made):
    metrics = json.loads((made.run(CE) / "metrics.json").read_text())
    found = facts(made, made.run(CE) / "predictions.npz")
    assert found["accuracy"].startswith(f"{percent(metrics['top1'])} % of 500 images")


def test_responses_tell_which_images_are_repaired_and_broken(made):
    folder = made.layout.root
    path = next(folder.rglob(f"{ASKED}/seed0/gradient-5/test.npz"))
    found = facts(made, path)
    before, after = (float(found[name].split()[0]) for name in ("on x", "accuracy"))
    gained = int(found["repaired"].split(":")[0]) - int(found["broken"].split(":")[0])
    assert gained == round((after - before) / 100 * 500)
    assert "→" in found["repaired"]


def test_a_table_of_a_teacher_names_its_views_and_students(made):
    found = facts(made, made.layout.root / "teachers" / TEACHER / "seed0" / "gradient-0.npy")
    assert found["table"].startswith("9 views of 1,297 images, 10 classes, float16")
    assert STUDENT in found["used by"]


def test_a_search_marks_its_winner(made):
    path = made.layout.root / "runs" / SEARCHED / "search.json"
    winner = json.loads(path.read_text())["winner"]
    marked = [row for row in facts(made, path)["scores"] if "winner" in row]
    assert [float(row.split()[0]) for row in marked] == [winner]


def test_peers_have_files_of_their_own_that_are_described(made):
    assert "parameters" in facts(made, made.run(PEERS) / "weights-peer.safetensors")["weights"]


def test_a_history_is_shown_as_curves_and_stages(made):
    found = facts(made, made.run(GRAD) / "history.csv")
    assert any(row.startswith("loss_explanation") for row in found["curves"])


def test_an_item_lists_the_runs_that_are_there(made):
    rows = facts(made, "le_table3")["rests on"]
    assert any(row.split()[0] == CE and row.endswith("seeds 0-1: 2 of 2 there") for row in rows)
    assert any(row.endswith("seeds 0-1: 0 of 2 there") for row in rows)


@pytest.fixture(scope="module")
def copy(made, tmp_path_factory) -> Path:
    """Results to be damaged."""
    return shutil.copytree(made.results, tmp_path_factory.mktemp("copy") / "results")


@pytest.mark.parametrize("cut", [0.0, 0.5, 0.97])
def test_a_file_that_is_cut_off_is_refused_in_one_line_that_names_it(made, copy, cut):
    for path in files_of(made):
        path = copy / path.relative_to(made.results)
        if path.suffix == ".png" or path.name == "timing.csv":
            continue  # a picture's head is whole; a shorter file of lines may be
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * cut)])
        told = refusal(made, path)
        if path.name != "clusters.csv":  # a table of lines may be shorter
            assert path.name in told, path
            assert "\n" not in told, told
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("digits/mlp256/cee", "digits/mlp256/ce"),
        ("le_tabel2", "le_table2"),
        ("results/demo/nowhere.csv", "is missing"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest_name(made, capsys, word, hint):
    assert made.xkd("inspect", word) == 2
    assert hint in capsys.readouterr().err


def test_the_scale_follows_from_the_path(made, capsys):
    paper = made.results / "paper" / "runs" / "mnist" / "mlp1024" / "ce"
    paper.mkdir(parents=True)
    write_json(paper / "cell.json", {"runs": {}, "parameters": 1})
    where = ["--results", str(made.results), "--config", str(ROOT / "config.yaml")]
    assert main(["inspect", str(paper), *where]) == 0
    printed = capsys.readouterr().out
    assert "CE · MLP1024 · MNIST (paper)" in printed
    assert "--set scale=paper" in printed


@pytest.mark.parametrize(
    "kind", ["data", "images.safetensors", "explanations.npz", "run"], ids=lambda kind: kind
)
def test_sheets_of_images_are_drawn(made, tmp_path, capsys, kind):
    root = made.layout.root
    word = {"data": root / "data" / "digits", "run": f"{CE}/seed0"}.get(kind)
    word = word or next(root.rglob(kind))
    out = tmp_path / "sheet.png"
    assert made.xkd("inspect", word, "--png", out) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert capsys.readouterr().out.startswith(f"{out}: ")


def test_nothing_to_draw_is_one_line(made, tmp_path, capsys):
    assert made.xkd("inspect", "le_table3", "--png", tmp_path / "x.png") == 2
    assert "no images to draw" in capsys.readouterr().err


def test_one_epoch_is_told_for_every_seed(made, capsys):
    assert made.xkd("inspect", GRAD, "--epoch", 2) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if "seed0: stage " in line or "seed1: " in line]
    assert len(rows) == 2
    history = (made.run(GRAD) / "history.csv").read_text().splitlines()
    test = dict(zip(history[0].split(","), history[2].split(","), strict=True))["test_top1"]
    assert f"test_top1 {float(test):.4g}" in rows[0]
    assert made.xkd("inspect", GRAD, "--epoch", 9) == 2
    assert "found epoch 9, expected 1 to 2" in capsys.readouterr().err


def test_json_has_the_same_facts(made, capsys):
    assert made.xkd("inspect", CE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["remake"].startswith(f"xkd train {CE}")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([3.0, 3.0], "▁▁"),
        ([0.0, float("nan"), 1.0], "▁·█"),
        ([], ""),
    ],
)
def test_a_sparkline_spans_the_least_and_the_greatest_value(values, line):
    assert sparkline(values) == line


def test_a_long_curve_is_averaged_to_the_width():
    assert sparkline(list(range(400)), width=8) == "▁▂▃▄▅▆▇█"


def test_inspecting_needs_no_torch(made):
    code = (
        "import sys; from xkd.__main__ import main;"
        f"main(['inspect', {str(made.run(CE))!r}, *{made.options()!r}]);"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(ROOT / "workflow")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
