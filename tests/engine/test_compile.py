"""Students that pass through torch.compile."""

import csv
import os
import shutil

import pytest
from fake_cells import NARROW, SMALL, cell, files, prepared, train

from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.errors import Refused
from xkd.plan.runs import Layout


def losses(settings, layout, seed: int) -> list[float]:
    """Of every epoch."""
    lines = files(settings, layout, seed)["history.csv"].decode().splitlines()
    return [float(row["loss"]) for row in csv.DictReader(lines)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize(
    ("network", "uses", "chosen"),
    [
        (SMALL, "ce", {}),
        (NARROW, "le", {"explanation": "gradcam", "warmup": 1}),
        (NARROW, "le", {"explanation": "guided_bp", "warmup": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_compiled_students_learn_the_same(tmp_path, network, uses, chosen):
    settings = cell(uses, (0, 1), network=network, **chosen)
    found = []
    for compiled in (True, False):
        layout = Layout(tmp_path / str(compiled))
        layout.root.mkdir()
        prepared(layout)
        train(settings, layout, backend="procs", threads=2, precision="float64", compile=compiled)
        found.append([losses(settings, layout, seed) for seed in (0, 1)])
    for compiled, plain in zip(*found, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-7)


def test_a_machine_without_compiler_is_told_before_anything_is_trained(monkeypatch):
    monkeypatch.setitem(os.environ, "CXX", "g--")
    with pytest.raises(Refused, match=r"needs a C\+\+ compiler, and there is no 'g--' here"):
        Runtime.of(EngineOptions(device="cpu", compile=True))


def test_compiled_runs_have_a_fingerprint_of_their_own():
    options = EngineOptions(), EngineOptions(compile=True), EngineOptions(precision="bf16")
    assert len({option.arithmetic for option in options}) == 3
    assert EngineOptions().arithmetic == "float32", "as runs of earlier versions have it"
