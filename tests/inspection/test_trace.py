"""`xkd trace`: from numbers to runs and equations, from keys of the config to items."""

import csv
import json
from copy import deepcopy
from statistics import fmean, stdev

import pytest
from made_demo import CE, GRAD, ROOT, SEARCHED, TEACHER

from xkd.inspection import keys, trace
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout

SHOWN = (CE, GRAD, SEARCHED)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(config.load(ROOT / "config.yaml"))


@pytest.fixture(scope="module")
def table(made):
    """Table 3 of LE, drawn from the cells that are there: errors, last epoch and best epoch."""
    rows = []
    for metric, base in (("error", "top1"), ("best_error", "best_top1")):
        for text in SHOWN:
            cell = Cell.parse(text)
            found = json.loads((made.layout.manifest(cell)).read_text())["runs"]
            errors = [1 - run["metrics"][base] for run in found.values()]
            named = {"dataset": cell.dataset, "network": cell.network, "method": cell.method}
            number = {"metric": metric, "n": 2, "mean": fmean(errors), "std": stdev(errors)}
            rows.append({"section": base, **named, **number, "published": 0.0168})
    path = made.layout.root / "tables" / "le_table3.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    yield made.plan.items["le_table3"]
    path.unlink()


def test_every_number_of_a_table_leads_to_its_runs_settings_and_equation(made, table):
    every = trace.numbers(made.plan, table, made.layout)
    assert len(every) == 2 * len(SHOWN)
    for number in every:
        facts = trace.describe_number(made.plan, table, made.layout, number).facts
        assert str(number.cell) in SHOWN
        assert facts["cell"] == f"{number.cell}, seeds 0-1"
        assert [line.split()[-1] for line in facts["runs"]] == [
            str(made.run(str(number.cell), seed)) for seed in (0, 1)
        ]
        assert facts["recomputed"].endswith("over 2 runs, as drawn")
        assert facts["recipe"].startswith("recipes.r_mlp: epochs 2")
        uses = made.plan.cells[number.cell].method.uses
        assert facts["equation"][0] == f"workflow/xkd/methods/{uses}.py"
        assert any("=" in line for line in facts["equation"])
        assert facts["published"] == "0.0168"


def test_a_number_of_other_runs_than_drawn_is_noticed(made, table):
    number = trace.numbers(made.plan, table, made.layout)[0]
    changed = {**number.row, "mean": str(float(number.row["mean"]) + 0.01)}
    assert trace.recomputed(changed, [float(number.row["mean"])]).endswith(
        "not as drawn: draw the item again"
    )


def test_row_and_column_are_found_by_name_or_label_in_any_order(made, table, capsys):
    for words in (("le_grad", "mlp256", "error"), ("MLP256", "ERROR", "LE(Grad)")):
        assert made.xkd("trace", "le_table3", *words) == 0
        printed = capsys.readouterr().out
        assert f"{GRAD}, seeds 0-1" in printed
        assert "introspective_targets: q_g = α" in printed


def test_an_unknown_row_is_answered_with_the_nearest(made, table, capsys):
    assert made.xkd("trace", "le_table3", "le_gard") == 2
    assert "did you mean 'le_grad'?" in capsys.readouterr().err


def test_an_item_lists_all_its_numbers_with_their_cells(made, table, capsys):
    assert made.xkd("trace", "le_table3") == 0
    printed = capsys.readouterr().out
    assert all(printed.count(cell) == 2 for cell in SHOWN)


def test_before_anything_is_drawn_numbers_come_from_the_config(plan, tmp_path):
    layout = Layout(tmp_path / "results" / "demo")
    for item in plan.items.values():
        every = trace.numbers(plan, item, layout)
        assert [number.cell for number in every] == item.cells, item.name


def test_a_teachers_row_leads_to_the_teacher(plan):
    item = plan.items["le_table5"]
    row = {"dataset": "digits", "network": "", "method": "alone", "teacher": "half_resnet20"}
    assert str(trace.cell_of(plan, item, row)) == TEACHER


def test_a_row_about_reinforced_images_leads_to_the_network_that_answers(plan):
    item = plan.items["oracle_table2"]
    row = {"dataset": "digits", "network": "half_resnet8", "method": "gradient-0.5"}
    assert str(trace.cell_of(plan, item, row)) == "digits/half_resnet8/ce_teacher"


KEYS = (
    "recipes.r_res.lr",
    "recipes.r_or.weight_decay",
    "recipes.r_mlp.epochs",
    "methods.kd.temperature",
    "methods.le_gradcam.alpha",
    "methods.le_gradcam.warmup.digits",
    "methods.le_gradcam.warmup.cifar10",
    "networks.half_resnet8.dropout",
    "networks.resnet8.dropout",
    "datasets.digits.pad",
    "analyses.clusters.points",
)


@pytest.mark.parametrize("key", KEYS)
def test_the_cells_of_a_key_are_those_whose_settings_change_with_it(plan, key):
    changed = deepcopy(plan.config)
    *parents, last = key.split(".")
    place = changed
    for part in parents:
        place = place[part]
    place[last] = keys.value_of(plan, key) + (1 if last in ("warmup", "digits", "epochs") else 0.1)
    if last in ("pad", "epochs", "points", "cifar10"):
        place[last] = int(keys.value_of(plan, key)) + 1
    other = Plan(changed)
    differing = {
        cell
        for cell, settings in plan.cells.items()
        if settings.slice() != other.cells[cell].slice()
    }
    own = {cell for cell in keys.cells_of(plan, key)}
    networks = key.startswith("networks.")  # a student's settings hold its teacher's network
    assert own == differing if not networks else own <= differing
    assert bool(own) == (key not in KEYS[6:7] + KEYS[8:9] + KEYS[10:])


def test_items_of_a_key_rest_on_its_cells_or_analyses(plan):
    found = {item.name for item in keys.items_of(plan, "recipes.r_mlp.lr")}
    assert {"le_table3", "le_figure1"} <= found
    assert "oracle_table4" not in found
    clustered = {item.name for item in keys.items_of(plan, "analyses.clusters.points")}
    assert clustered == {"oracle_figure3", "oracle_figure4"}
    assert "oracle_figure4" in {i.name for i in keys.items_of(plan, "analyses.responses.gradient")}


def test_an_items_own_entry_changes_that_item_alone(plan):
    assert [item.name for item in keys.items_of(plan, "tables.le_table2.title")] == ["le_table2"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("recipes.r_rse.lr", "did you mean 'r_res'?"),
        ("methods.kd.tempreture", "did you mean 'temperature'?"),
        ("recepies.r_res", "did you mean 'recipes'?"),
        ("le_tabel2", "did you mean 'le_table2'?"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(made, capsys, key, hint):
    assert made.xkd("trace", key) == 2
    assert hint in capsys.readouterr().err


def test_a_key_that_a_scale_renames_says_so(plan):
    found = keys.describe_key(plan, "networks.resnet8.depth").facts
    assert found["note"] == "at this scale half_resnet8 stands for resnet8"
    assert found["items"] == "none: nothing at this scale uses it"
