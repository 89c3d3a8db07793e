"""Misspelt cells, methods, teachers and options: one line with what was meant."""

import sys
from copy import deepcopy
from pathlib import Path

import pytest

from xkd import errors
from xkd.errors import Refused
from xkd.plan import config, declarations
from xkd.plan.declarations import declaration
from xkd.plan.grid import Plan
from xkd.plan.misses import translated
from xkd.plan.runs import Cell

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(config.load(ROOT / "config.yaml"))


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        (
            "digits/half_resnet14/le_gradcm",
            "method 'le_gradcm', did you mean 'le_gradcam'?",
        ),
        (
            "digits/half_resnet41/ce",
            "'half_resnet41', did you mean 'half_resnet14'?",
        ),
        ("digitz/half_resnet14/ce", "unknown data set 'digitz', did you mean 'digits'?"),
        (
            "cifar10/resnet14/kd/from-resnet26",
            "here it is digits/half_resnet14/kd/from-half_resnet20, or say --set scale=paper",
        ),
        ("mnist/mlp1024/le_grad", "here it is digits/mlp256/le_grad, or say --set scale=paper"),
        ("digits/half_resnet14/kd", "there are digits/half_resnet14/kd/from-half_resnet20;"),
        (
            "digits/half_resnet14/kd/from-resnet56",
            "there are digits/half_resnet14/kd/from-half_resnet20;",
        ),
    ],
)
def test_a_cell_that_is_not_there_is_answered_with_what_was_meant(plan, cell, hint):
    with pytest.raises(Refused) as refused:
        plan.settings(Cell.parse(cell))
    told = str(refused.value)
    assert told.startswith(f"no experiment of config.yaml at scale demo has the cell {cell}; ")
    assert hint in told
    assert told.endswith("`xkd cells` lists all")
    assert "\n" not in told


def test_cells_of_the_papers_are_translated_into_those_of_the_demo(plan):
    """But for the students of a teacher to whom the demo gives another network."""
    paper = Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))
    asked = [cell for cell in paper.cells if cell.trial is None]
    found = [cell for cell in asked if translated(plan, cell) in plan.cells]
    assert len(found) > 0.9 * len(asked)


@pytest.mark.parametrize(
    ("program", "exported", "option"),
    [
        ("/x/bin/xkd", None, "--set"),
        ("/x/xkd/__main__.py", None, "--set"),
        ("/x/bin/snakemake", None, "--config"),
        ("/x/snakemake/__main__.py", None, "--config"),
        ("/x/xkd/__main__.py", "results/.config/a.json", "--config"),
    ],
)
def test_settings_are_suggested_as_the_front_end_takes_them(monkeypatch, program, exported, option):
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.delenv("XKD_CONFIG", raising=False)
    if exported:
        monkeypatch.setenv("XKD_CONFIG", exported)
    assert errors.setting("scale=paper") == f"{option} scale=paper"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"temprature": 3}, "methods.unused: unknown option 'temprature'; did you mean 'temper"),
        ({"temperature": 0}, "methods.unused.temperature: found 0, expected more than 0"),
        (
            {"weights": {"kdd": 1}},
            "methods.unused.weights: unknown weight 'kdd'; did you mean",
        ),
    ],
)
def test_options_of_a_method_that_nothing_uses_are_checked_too(plan, entry, told):
    changed = deepcopy(plan.config)
    changed["methods"]["unused"] = {"label": "Unused", "uses": "kd", **entry}
    with pytest.raises(Refused, match=told.replace(".", r"\.").replace("?", r"\?")):
        Plan(changed)


def test_options_of_a_network_that_nothing_uses_are_checked_too(plan):
    changed = deepcopy(plan.config)
    entry = {"label": "Unused", "family": "resnet", "depht": 8, "recipe": "r_res"}
    changed["networks"]["unused"] = entry
    with pytest.raises(Refused, match=r"networks\.unused: unknown key 'depht'; did you mean"):
        Plan(changed)


FOCAL = """
from xkd.methods.base import BaseMethod

{before}
class {name}(BaseMethod):
    OPTIONS = {options}
    {weights}
"""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "Focal"}, "found Focal, expected `class Method(BaseMethod):`"),
        ({"options": '{"focus": {"default": FOCUS}}'}, "OPTIONS is no plain literal"),
        ({"weights": ""}, "class Method declares no WEIGHTS"),
        ({"weights": 'WEIGHTS = {"focal": FOCUS}'}, "WEIGHTS is no plain literal"),
    ],
)
def test_a_breach_of_the_contract_is_called_by_its_name(tmp_path, monkeypatch, changed, told):
    parts = {"before": "FOCUS = 2.0", "name": "Method", "options": "{}"}
    parts |= {"weights": 'WEIGHTS = {"focal": 1.0}'}
    package = tmp_path / "xkd"
    (package / "methods").mkdir(parents=True)
    (package / "methods" / "focal.py").write_text(FOCAL.format(**parts | changed))
    monkeypatch.setattr(declarations, "PACKAGE", package)
    monkeypatch.setattr("xkd.fingerprint.PACKAGE", package)
    declarations.known_modules.cache_clear()
    try:
        with pytest.raises(Refused) as refused:
            declaration("methods", "focal")
    finally:
        declarations.known_modules.cache_clear()
    assert str(refused.value).startswith("workflow/xkd/methods/focal.py: ")
    assert told in str(refused.value)
