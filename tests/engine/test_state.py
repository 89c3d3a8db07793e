"""State beside the weights: banks and Adam's averages, in checkpoints, in graphs, in memory."""

from dataclasses import replace
from typing import ClassVar

import fake_cells
import pytest
import torch
from fake_cells import RECIPE, SMALL, cell, files, train
from fake_gpu import pretended
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from xkd import methods
from xkd.engine import job
from xkd.engine.cell_data import CellData
from xkd.engine.job import CheckpointSchedule
from xkd.engine.memory import estimate
from xkd.engine.options import EngineOptions
from xkd.engine.runtime import Runtime
from xkd.engine.training import Training
from xkd.errors import Refused
from xkd.methods.base import BaseMethod, Group, StepOutput
from xkd.plan.runs import Layout, Run

WIDTH = 5


class Banked(BaseMethod):
    """Cross-entropy, and the distance from where the bank saw every image last.

    A head of its own, under Adam, maps the embedding to the bank; both are no part of the student.
    """

    WEIGHTS: ClassVar = {"ce": 1.0, "bank": 0.1}
    WHOLE_BATCH: ClassVar = True

    def __init__(self, student, context, options):
        super().__init__(student, context, options)
        self.head = nn.Linear(context.student_embedding, WIDTH)
        self.register_buffer("bank", torch.rand(len(context.train_labels), WIDTH))
        self.register_buffer("seen", torch.zeros(len(context.train_labels), dtype=torch.int64))

    def groups(self, stage):
        return [Group(list(self.head.parameters()), "adam", lr=0.01, weight_decay=0.1)]

    def forward(self, batch, stage):
        output = self.student(batch.images)
        mapped = self.head(output.embedding)
        self.mapped = mapped.detach()
        terms = {
            "ce": F.cross_entropy(output.logits, batch.labels),
            "bank": F.mse_loss(mapped, self.bank[batch.index]),
        }
        return StepOutput(output.logits, terms)

    def after_update(self, batch):
        self.bank.index_copy_(0, batch.index, 0.5 * self.bank[batch.index] + 0.5 * self.mapped)
        self.seen.index_add_(0, batch.index, torch.ones_like(batch.index))


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "load", lambda name: Banked)
    layout = Layout(tmp_path)
    fake_cells.prepared(layout)
    return layout


def trained(layout, settings, seed=0) -> Training:
    """A seed after all its epochs, still in memory."""
    runtime = Runtime.of(EngineOptions(device="cpu"))
    data = CellData.of(settings, layout.data("stripes"), runtime)
    training = Training(settings, seed, data, None, runtime)
    while not training.finished:
        training.begin_epoch()
        for _ in training.batches:
            training.advance()
        training.end_epoch()
    return training


def test_a_bank_meets_every_training_image_once_an_epoch(layout):
    training = trained(layout, cell(network=SMALL))
    method, labels = training.method, training.cell_data.train.labels
    assert method.seen.tolist() == [RECIPE.epochs] * len(labels)


def test_the_index_of_a_batch_leads_to_its_labels(layout):
    """Under a hold-out split as well: rows are those of the split in use."""
    for holdout in (False, True):
        settings = replace(cell(network=SMALL), holdout=holdout)
        runtime = Runtime.of(EngineOptions(device="cpu"))
        data = CellData.of(settings, layout.data("stripes"), runtime)
        training = Training(settings, 0, data, None, runtime)
        assert len(training.method.bank) == len(data.train) == (54 if holdout else 70)
        seen = []
        training.method.after_update = seen.append
        training.begin_epoch()
        training.advance()
        (batch,) = seen
        assert torch.equal(batch.labels, data.train.labels[batch.index])


def test_a_bank_is_no_part_of_the_weights(layout):
    settings = cell(seeds=(0,), network=SMALL)
    train(settings, layout)
    saved = load_file(layout.run(Run(settings.cell, 0)) / "weights.safetensors")
    assert not {name for name in saved if "bank" in name or "head" in name}


@pytest.mark.parametrize("steps", [1, 6])
def test_a_run_cut_between_two_steps_ends_in_the_same_bits(tmp_path, layout, monkeypatch, steps):
    settings = cell(seeds=(0,), network=SMALL)
    train(settings, layout)
    whole = files(settings, layout, 0)
    broken = Layout(tmp_path / "broken")
    fake_cells.prepared(broken)
    after_step, left = CheckpointSchedule.after_step, [steps]

    class Cut(BaseException):
        pass

    def cut(saving):
        after_step(saving)
        left[0] -= 1
        if left[0] == 0:
            saving.save()
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(job.CheckpointSchedule, "after_step", cut)
        with pytest.raises(Cut):
            train(settings, broken)
    train(settings, broken)
    assert files(settings, broken, 0) == whole


def test_warm_up_steps_of_a_capture_leave_banks_and_averages_alone(layout, monkeypatch):
    settings = cell(seeds=(0, 1), network=SMALL)
    train(settings, layout)
    expected = [files(settings, layout, seed) for seed in (0, 1)]
    for seed in (0, 1):
        (layout.run(Run(settings.cell, seed)) / "run.yaml").unlink()
    with pretended(monkeypatch):
        train(settings, layout)
    assert [files(settings, layout, seed) for seed in (0, 1)] == expected


def test_a_bank_counts_once_in_the_memory_and_weights_three_times(layout):
    settings = cell(network=SMALL)
    small, large = (
        estimate(settings, None, 0, labels=torch.zeros(count, dtype=torch.int64)).seed
        for count in (10, 1010)
    )
    assert large - small == 1000 * (4 * WIDTH + 8)


def test_whole_batches_are_refused_to_several_processes(layout, monkeypatch):
    from xkd.engine import cell as job_of_a_cell
    from xkd.engine.team import Team

    monkeypatch.setattr(job_of_a_cell, "assemble", lambda: Team(0, 2))
    with pytest.raises(Refused, match="images of a whole batch, and torchrun started 2"):
        train(cell(network=SMALL), layout)
