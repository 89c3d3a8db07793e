"""The analysis `explanations`: maps, and whether they go below zero."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_cells import RECIPE, cell, prepared, train

from xkd.analyses.base import Request, carry_out
from xkd.errors import Refused
from xkd.plan.runs import Layout, Run
from xkd.records.analyses import check_card

SHORT = replace(RECIPE, epochs=2, milestones=())


@pytest.mark.parametrize(
    ("explanation", "signed"),
    [("grad", True), ("gradcam_signed", True), ("gradcam", False), ("gradcam_last_conv", False)],
)
def test_maps_that_go_below_zero_are_called_signed(tmp_path: Path, explanation, signed) -> None:
    layout = Layout(tmp_path)
    prepared(layout)
    settings = cell("ce", (0,), recipe=SHORT)  # any network can be explained, not LE's alone
    train(settings, layout)
    run = Run(settings.cell, 0)
    options = {"explanation": explanation, "pairs": [["a", "b"]]}
    carry_out(Request("explanations", run, settings, layout, options))
    with np.load(layout.analysis("explanations", run) / "explanations.npz") as file:
        assert bool(file["signed"]) is signed
        assert (file["maps"].min() < 0) is np.bool_(signed)
    card = layout.analysis("explanations", run) / "analysis.json"
    check_card(card, {str(settings.cell): options})
    with pytest.raises(Refused, match=r"was made with pairs: .*, the config says"):
        check_card(card, {str(settings.cell): {**options, "pairs": []}})
    (card.parent / "class_similarity.npz").write_bytes(b"")
    with pytest.raises(Refused, match=r"class_similarity\.npz is damaged"):
        check_card(card)
