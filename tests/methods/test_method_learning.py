"""Every related method learns: after five epochs on striped images it beats chance clearly."""

from dataclasses import replace

import fake_cells
import pandas as pd
import pytest
from fake_cells import RECIPE, cell, train

from xkd.plan.runs import Layout, Run

FIVE = replace(RECIPE, epochs=5, lr=0.02, milestones=(4,))
METHODS = ("dist", "cat_kd", "reviewkd", "crd", "mcl_okd", "ffsd", "mlkd", "mlkd_weak")
FEW = {"crd": {"negatives": 40}, "mcl_okd": {"negatives": 40}, "reviewkd": {"warmup": 2}}


@pytest.fixture(scope="module")
def school(tmp_path_factory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("school"))
    fake_cells.prepared(layout, train=320, test=200)
    train(replace(fake_cells.teacher_settings(), recipe=FIVE), layout)
    return layout


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("uses", METHODS)
def test_five_epochs_beat_chance_and_every_meter_is_a_number(school, uses, precision):
    settings = cell(uses, (0,), recipe=replace(FIVE, name=precision), **FEW.get(uses, {}))
    settings = replace(settings, cell=replace(settings.cell, network=f"resnet8_{precision}"))
    train(settings, school, precision=precision)
    history = pd.read_csv(school.run(Run(settings.cell, 0)) / "history.csv")
    assert history.test_top1.iloc[-1] > 0.5, "of four classes"
    numbers = history.select_dtypes("number").iloc[1:]  # ReviewKD begins without its teacher
    assert numbers.notna().all(axis=None)
