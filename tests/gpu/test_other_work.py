"""What runs on a GPU beside training: batches, tables, explanations, analyses, the bench."""

import csv
from dataclasses import replace

import fake_cells
import numpy as np
import pytest
import torch
from fake_cells import ATTENTIVE, RECIPE, STRIPES, cell, train

from xkd import explain, networks
from xkd.analyses.base import Request, carry_out
from xkd.bench import cuda
from xkd.bench.measuring import Effort
from xkd.bench.synthetic import CIFAR10, BenchCells, Scale
from xkd.data.stream import Resident, Stream
from xkd.engine.table import tabulate
from xkd.explain._subject import Subject
from xkd.plan.runs import Run
from xkd.plan.settings import Reinforcement

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: make test-gpu"),
]


def resident(**options) -> Resident:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(256, (50, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Resident(images, torch.arange(50) % 10, CIFAR10, **options)


def test_a_cuda_graph_holds_a_batch():
    on_gpu = resident(device="cuda")
    index = torch.zeros(16, dtype=torch.int64, device="cuda")
    view = torch.zeros_like(index)
    on_gpu.batch(index, view)  # warm-up, as capture demands
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        images, labels = on_gpu.batch(index, view)
    for next_index, next_view in list(Stream(on_gpu, 16, seed=3).epoch(1))[:3]:
        index.copy_(next_index)
        view.copy_(next_view)
        graph.replay()
        expected, expected_labels = resident().batch(next_index.cpu(), next_view.cpu())
        torch.testing.assert_close(images.cpu(), expected, rtol=0, atol=1e-6)
        assert torch.equal(labels.cpu(), expected_labels)


@pytest.mark.parametrize(
    "kind", [Reinforcement(0.0), Reinforcement(4.0), Reinforcement(0.02, "sign")], ids=str
)
def test_tables_agree_with_those_of_a_cpu(school, tmp_path, kind):
    settings = fake_cells.teacher_settings()
    run, tables = Run(settings.cell, 0), []
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.npy"
        tabulate(settings, run, school, kind, out, device=device)
        tables.append(np.load(out))
    assert tables[0].shape == (STRIPES.views, 70, 4)
    np.testing.assert_allclose(tables[1], tables[0], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", explain.of_one_class())
def test_explanations_agree_with_those_of_a_cpu(name):
    torch.manual_seed(0)
    data = replace(STRIPES, channels=3, size=16)
    target = networks.build(fake_cells.NARROW, data).double().eval()
    student = networks.build(ATTENTIVE, data).double().eval()
    with torch.no_grad():  # evidence for every class, so that no map is zero everywhere
        for linear in (student.body.fc, *(head.output for head in student.heads)):
            linear.weight.abs_()
            linear.bias.abs_()
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    objects = torch.zeros(4, 16, 16, dtype=torch.bool)
    objects[:, 4:12, 4:12] = True
    few = {"rise": {"samples": 40}, "lime": {"samples": 60, "cells": 4}}.get(name, {})
    maps = []
    for device in ("cpu", "cuda"):
        subject = Subject(target.to(device), student.to(device), objects.to(device), seed=3)
        classes = torch.tensor([0, 3, 2, 2], device=device)
        maps.append(explain.of_class(subject, images.to(device), classes, name, **few).cpu())
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-6, atol=1e-9)


def test_analyses_of_a_surrogate_agree_with_those_of_a_cpu(school):
    recipe = replace(RECIPE, epochs=2, milestones=(), clip=5.0)
    settings = cell("attentive", (0,), ATTENTIVE, recipe, explain_epochs=2)
    train(settings, school, device="cpu")
    run, few = Run(settings.cell, 0), {"samples": 20, "cells": 4}
    explanations = ["explanation_net", "last_level", "rise", "lime", "gradcam", "random"]
    options = {
        "explanations": explanations, "options": {"rise": few, "lime": few}, "images": 10,
        "step": 8, "blur": 5, "sigma": 2.0, "radius": 0.0, "shown": 3, "seed": 0,
    }  # fmt: skip
    rows = {}
    for device in ("cpu", "cuda"):
        carry_out(Request("saliency", run, settings, school, options, device=device))
        with (school.analysis("saliency", run) / "saliency.csv").open(newline="") as file:
            rows[device] = {row["explanation"]: row for row in csv.DictReader(file)}
    for name in explanations:
        for kind in ("insertion", "deletion"):
            ours, theirs = (float(rows[device][name][kind]) for device in ("cuda", "cpu"))
            assert ours == pytest.approx(theirs, abs=0.02), (name, kind)
    quick = {"explanations": ["lime", "gradcam"], "options": {"lime": few}}
    rounds = {"rounds": 3, "slow_rounds": 2, "warmup": 1}
    carry_out(Request("speed", run, settings, school, quick | rounds, device="cuda"))


def test_a_cell_on_a_card_is_measured():
    cells = BenchCells(
        "cuda", Scale(images=512, scored=64, batch=64, effort=Effort(0, 2, per_round=0))
    )
    row = cuda.ROWS["resnet20_cell"]
    assert list(row(cells)) == list(row.targets)
