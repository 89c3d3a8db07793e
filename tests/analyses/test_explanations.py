"""What `xkd explain` leaves for LE, Figure 1: maps, and whether they go below zero."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_cells import RECIPE, cell, prepared, train

from xkd.analyses.explanations import explain_run
from xkd.plan.runs import Layout, Run

SHORT = replace(RECIPE, epochs=2, milestones=())


@pytest.mark.parametrize(
    ("explanation", "signed"),
    [("grad", True), ("gradcam_signed", True), ("gradcam", False), ("gradcam_last_conv", False)],
)
def test_maps_that_go_below_zero_are_called_signed(tmp_path: Path, explanation, signed) -> None:
    layout = Layout(tmp_path)
    prepared(layout)
    settings = cell("le", (0,), recipe=SHORT, warmup=1, explanation=explanation)
    train(settings, layout)
    run = Run(settings.cell, 0)
    explain_run(settings, run, layout, pairs=[["a", "b"]])
    with np.load(layout.explanations(run) / "explanations.npz") as file:
        assert bool(file["signed"]) is signed
        assert (file["maps"].min() < 0) is np.bool_(signed)
