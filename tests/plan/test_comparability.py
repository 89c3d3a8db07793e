"""What differs from the paper's own settings, whatever a scale is called."""

from functools import cache
from pathlib import Path

import pytest
import yaml

from xkd.plan import comparability, config, jobs
from xkd.plan.grid import Plan

ROOT = Path(__file__).resolve().parents[2]
CE = "mnist/mlp1024/ce"


@cache
def plain_plan(*sets: str) -> Plan:
    return Plan(config.load(ROOT / "config.yaml", sets))


def plan(*sets: str, **more: object) -> Plan:
    if not more:
        return plain_plan(*sets)
    return Plan(config.load(ROOT / "config.yaml", sets, **more))


def differences(made: Plan, item: str) -> dict:
    return comparability.comparison(made).differences(made.items[item])


def test_the_papers_own_scale_differs_in_nothing():
    made = plan("scale=paper")
    assert not any(differences(made, name) for name in made.items)


def test_where_data_lie_and_who_computes_makes_no_difference():
    made = plan("scale=paper", "data_root=/elsewhere", "engine.precision=bf16", "download=false")
    assert not any(differences(made, name) for name in made.items)


def test_two_epochs_and_another_batch_differ_under_the_name_of_the_paper_scale():
    few = [ROOT / "workflow" / "overlays" / "two_epochs.yaml"]
    made = plan("scale=paper", "recipes.r_mlp.batch=128", overlays=few)
    assert differences(made, "le_table3")[CE] == [
        ["recipe", "epochs", 2, 50],
        ["recipe", "batch", 128, 16],
    ]
    grad = differences(made, "le_table3")["mnist/mlp1024/le_grad"]
    assert ["method", "warmup", 1, 10] in grad
    dropout = differences(made, "le_table3")["mnist/mlp1024/dropout"]
    assert ["search", "epochs", 1, 50] in dropout
    assert jobs.item_description(made, made.items["le_table3"])["fewer_seeds"][CE] == [1, 5]


def test_a_demo_stands_for_several_cells_of_the_paper_and_differs_from_each():
    found = differences(plan("scale=demo"), "oracle_table4")["digits/half_resnet8/ce_student"]
    assert ["data", "dataset", "digits", "cifar10"] in found
    assert ["data", "dataset", "digits", "cifar100"] in found
    assert ["network", "network", "half_resnet8", "resnet32"] in found
    assert ["recipe", "epochs", 5, 240] in found


def test_a_teacher_that_was_trained_otherwise_is_a_difference_of_its_students():
    made = plan("scale=paper", "recipes.r_tch.epochs=201")
    student = "cifar10/resnet20/oracle/from-resnet20-ce_teacher"
    found = differences(made, "oracle_table4")
    assert found[student] == [["teacher", "epochs", 201, 200]]
    assert found["cifar10/resnet20/ce_teacher"] == [["recipe", "epochs", 201, 200]]


def test_nothing_that_a_demo_shows_counts_as_the_papers():
    made = plan("scale=demo")
    for item in made.items.values():
        if item.paper["label"] in ("LE", "Oracle"):
            shown = set(jobs.item_description(made, item)["settings"])
            assert shown <= set(differences(made, item.name))


def test_a_scale_of_ones_own_is_held_against_the_papers_too():
    mine = {"scales": {"mine": {"replace": {"mnist": "digits"}}}, "scale": "mine"}
    made = plan(values=mine)
    assert differences(made, "le_table3")["digits/mlp1024/ce"] == [
        ["data", "dataset", "digits", "mnist"]
    ]


def test_one_changed_option_marks_the_cells_that_have_it_and_no_others():
    made = plan("scale=paper", "methods.le_gradcam.alpha=0.5")
    found = differences(made, "le_table2")
    assert set(found) == {"cifar10/resnet14/le_gradcam", "cifar10/resnet8/le_gradcam"}
    assert found["cifar10/resnet8/le_gradcam"] == [["method", "alpha", 0.5, 0.9]]


def test_cells_that_the_paper_does_not_have_differ_from_nothing():
    mine = {"datasets": ["cifar10"], "networks": ["resnet20"], "methods": ["le_warmup0"]}
    made = plan("scale=paper", values={"experiments": {"le_maps": [mine]}})
    assert differences(made, "le_maps") == {}


@pytest.mark.parametrize("name", ["weight_decay", "lr"])
def test_numbers_that_a_card_spells_otherwise_are_the_same(name):
    settings = plan("scale=paper").settings(next(iter(plan("scale=paper").cells))).slice()
    card = yaml.safe_load(yaml.safe_dump(comparability.plain(settings)))
    assert list(comparability.of_settings(card, settings)) == []
    card["recipe"][name] += 1
    assert [one.what for one in comparability.of_settings(card, settings)] == [name]
