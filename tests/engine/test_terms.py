"""Loss terms that a method returns, and those that its WEIGHTS name."""

import fake_cells
import pytest
import torch

from xkd.engine.training import select
from xkd.errors import Refused
from xkd.methods.ce import Method
from xkd.plan.runs import Layout


def test_terms_come_in_the_order_of_the_weights():
    terms = {"kd": torch.tensor(1.0), "ce": torch.tensor(2.0)}
    assert [float(t) for t in select(terms, ["ce", "kd"], object.__new__(Method))] == [2.0, 1.0]


def test_a_term_that_the_method_does_not_return_is_refused_with_both_names(tmp_path):
    """The likeliest mistake in a method of one's own, in the midst of training."""
    layout = Layout(tmp_path)
    fake_cells.prepared(layout)
    with pytest.raises(Refused) as refused:
        fake_cells.train(fake_cells.cell("ce", seeds=(0,), weights={"focul": 1.0}), layout)
    assert (
        "workflow/xkd/methods/ce.py: forward returned the terms ce, and WEIGHTS weigh focul: "
        "there is no term 'focul'; use the same names"
    ) in str(refused.value)
