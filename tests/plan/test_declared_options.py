"""Options mean what the file of their own method declares, and nothing by their names."""

from pathlib import Path

import pytest

from xkd.errors import Refused
from xkd.plan import config as conf
from xkd.plan import declarations
from xkd.plan.grid import Plan

CONFIG = Path(__file__).resolve().parents[2] / "config.yaml"

OWN = {  # options of a method that only look like those of others
    "gamma": {"type": "number", "default": 3.0},
    "warmup": {"type": "integer", "default": 900},
    "explanation": {"type": "string", "default": "gradcam"},
    "spread": {"type": "string", "default": "wide"},
}


def plan(*settings: str) -> Plan:
    return Plan(conf.load(CONFIG, ["scale=paper", *settings]), name="config.yaml")


def declaring(monkeypatch, uses: str, **more: object) -> None:
    """Let a method's file declare more than it does."""
    literals = declarations.literals

    def declared(module: str, class_name: str | None = None) -> dict:
        found = literals(module, class_name)
        return {**found, **more} if module == f"xkd.methods.{uses}" else found

    monkeypatch.setattr(declarations, "literals", declared)


def test_options_mean_what_their_own_method_declares_and_nothing_else(monkeypatch) -> None:
    options = declarations.declaration("methods", "kd")["OPTIONS"] | OWN
    declaring(monkeypatch, "kd", OPTIONS=options)
    made = plan(
        "methods.own={label: Own, uses: kd}",
        "experiments.le_table3=[{datasets: [mnist], networks: [mlp1024], methods: [own],"
        " teachers: [resnet26]}]",
    )
    (cell,) = (cell for cell in made.cells.values() if cell.method.name == "own")
    assert cell.method.needs.reinforcement is None
    assert {name: cell.method.options[name] for name in OWN} == {
        name: schema["default"] for name, schema in OWN.items()
    }


def test_only_a_method_that_declares_it_reinforces() -> None:
    cells = plan().cells.values()
    reinforced = {c.method.uses for c in cells if c.method.needs.reinforcement is not None}
    assert reinforced == {"oracle"}


def test_an_option_below_a_number_of_the_recipe_is_refused_above_it(monkeypatch) -> None:
    late = {"start": {"type": "integer", "below": "epochs", "default": 900}}
    declaring(monkeypatch, "dml", OPTIONS=late)
    with pytest.raises(Refused, match=r"start: found 900, expected less than the 160 epochs of "):
        plan()


def test_an_explanation_is_judged_only_where_something_is_explained() -> None:
    grid = "experiments.le_table3=[{datasets: [mnist], networks: [mlp1024], methods: [le_cam]}]"
    cam = "methods.le_cam={label: L, uses: le, explanation: gradcam, warmup: 1, spread: %s}"
    with pytest.raises(
        Refused, match="'gradcam' needs a network with a pooled head, and 'mlp1024'"
    ):
        plan(grid, cam % "similarity")
    assert plan(grid, cam % "uniform").items


def test_explanations_are_the_registered_ones() -> None:
    with pytest.raises(Refused, match="explanation: found 'gradcan', expected one of grad, grad_i"):
        plan("methods.le_gradcam.explanation=gradcan")


def test_methods_that_need_whole_batches_are_refused_to_processes_that_share_them(
    monkeypatch,
) -> None:
    declaring(monkeypatch, "sad", WHOLE_BATCH=True)
    assert plan().items
    assert plan("engine.processes=2", "without=[imagenet]").items, (
        "several processes share a cell only on streamed pictures"
    )
    with pytest.raises(Refused, match="compares the images of a whole batch, and 2 processes"):
        plan("engine.processes=2")
