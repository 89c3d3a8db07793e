"""What the papers and their code fix, against what the config says."""

import pytest

from xkd.plan import config
from xkd.plan.config import CONFIG
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell
from xkd.plan.settings import CellSettings, Recipe


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(config.load(CONFIG, ["scale=paper"]))


@pytest.fixture(scope="module")
def demo() -> Plan:
    return Plan(config.load(CONFIG, ["scale=demo"]))


def cells_of(plan: Plan, item: str) -> list[CellSettings]:
    return [plan.cells[cell] for cell, _ in plan.items[item].runs]


def recipe(plan: Plan, cell: str) -> Recipe:
    return plan.cells[Cell.parse(cell)].recipe


def test_teachers_on_cifar10_learn_at_the_new_rate_from_epochs_60_120_and_160(plan: Plan) -> None:
    """The released accuracies jump in these epochs, not after them."""
    teacher = recipe(plan, "cifar10/resnet20/ce_teacher")
    jumps = [epoch for epoch in range(2, 201) if teacher.lr_at(epoch) != teacher.lr_at(epoch - 1)]
    assert jumps == [60, 120, 160]
    assert teacher.lr_at(60) == pytest.approx(0.02)
    assert (teacher.epochs, teacher.batch, teacher.weight_decay) == (200, 128, 0)


@pytest.mark.parametrize("network", ["resnet20", "resnet32", "resnet56", "resnet110"])
def test_plain_networks_of_oracle_table_1_are_not_the_teachers(plan: Plan, network: str) -> None:
    shown = [s for s in cells_of(plan, "oracle_table1") if s.dataset.name == "cifar100"]
    (plain,) = (s.recipe for s in shown if s.network.name == network)
    assert (plain.epochs, plain.batch, plain.lr, plain.decay) == (200, 128, 0.1, 0.2)
    assert plain.milestones == (59, 119, 159)
    assert plain.weight_decay == 5e-4
    teacher = recipe(plan, f"cifar100/{network}/ce_teacher")
    assert (teacher.epochs, teacher.batch, teacher.weight_decay) == (240, 64, 5e-4)


def test_searches_on_mnist_run_to_the_end(plan: Plan) -> None:
    """At a constant rate, what is best after ten epochs need not be best after fifty."""
    trials = [s for s in plan.cells.values() if s.cell.trial and s.dataset.name == "mnist"]
    assert len(trials) == 4 + 4 + 7
    assert {s.recipe.epochs for s in trials} == {50}


def test_ban_is_shown_at_every_temperature(plan: Plan) -> None:
    shown = cells_of(plan, "le_ban_temperatures")
    for weight in (0, 0.1):
        for network in ("resnet14", "resnet8"):
            found = [
                s.method.options["temperature"]
                for s in shown
                if s.network.name == network
                and s.teacher
                and s.method.options["weights"]["ce"] == weight
            ]
            assert found == [1, 2, 5, 10, 20]


@pytest.mark.parametrize("scale", ["plan", "demo"])
def test_figure_3_draws_training_images(scale: str, request: pytest.FixtureRequest) -> None:
    plan = request.getfixturevalue(scale)
    (cell,) = (cell for cell, _ in plan.items["oracle_figure3"].runs)
    assert plan.analysis("clusters", cell)["splits"][0] == "train"


def test_the_gamma_with_a_published_calibration_error_is_in_the_sweep(plan: Plan) -> None:
    (cell,) = (cell for cell, _ in plan.items["oracle_reliability"].runs)
    assert 15 in plan.analysis("responses", cell)["gradient"]
    assert "gradient-15" in plan.items["oracle_reliability"].entry["settings"]["reinforcements"]


def test_a_step_of_the_logits_is_a_control_of_oracle(plan: Plan) -> None:
    """All but the way in which the teacher's answers improve is as in Oracle itself."""
    shown = {s.method.name: s for s in cells_of(plan, "oracle_variants")}
    oracle, control = shown["oracle"], shown["oracle_logits"]
    assert control.recipe == oracle.recipe
    differing = {
        key for key, value in control.method.options.items() if oracle.method.options[key] != value
    }
    assert differing == {"gamma", "logit_step"}
    assert control.method.options["gamma"] == 0
    assert control.method.options["logit_step"] > 0
