"""Tables of a frozen teacher's logits: what they hold, whose they are, and that they pay off."""

import errno
import json
import os
import signal
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import fake_cells
import numpy as np
import pytest
import torch
from fake_cells import RECIPE, STRIPES, cell, files, train
from safetensors.torch import load_file

from xkd.data.dataset import load
from xkd.data.stream import Resident
from xkd.engine import table, table_file
from xkd.engine.table import tabulate
from xkd.errors import Refused
from xkd.evaluate import load_network
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import Reinforcement
from xkd.records.lock import locked
from xkd.reinforce import bounds_of, reinforce

TEACHER = fake_cells.teacher_settings((0, 1))
RUN = Run(TEACHER.cell, 0)
PLAIN = Reinforcement(0.0)


def left(folder: Path) -> list[str]:
    """What is in a folder, the guard of the lock aside, which stays."""
    return sorted({path.name for path in folder.iterdir()} - {".t.lock.guard"})


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """Prepared data and two trained teachers."""
    layout = Layout(tmp_path_factory.mktemp("school"))
    fake_cells.prepared(layout)
    train(TEACHER, layout)
    return layout


@pytest.fixture(scope="module")
def tables(layout):
    """Path of the table of a reinforcement, filled once."""
    paths = {}

    def path(reinforcement: Reinforcement, run: Run = RUN):
        if (reinforcement, run) not in paths:
            out = paths[reinforcement, run] = layout.table(run, reinforcement)
            tabulate(TEACHER, run, layout, reinforcement, out)
        return paths[reinforcement, run]

    return path


@pytest.mark.parametrize(
    "reinforcement",
    [
        PLAIN,
        Reinforcement(4.0),
        Reinforcement(0.02, "sign"),
        Reinforcement(4.0, steps=2),
        Reinforcement(900.0, clip=True),
    ],
    ids=str,
)
def test_every_view_of_every_image_has_the_teachers_answer(layout, tables, reinforcement):
    logits = np.load(tables(reinforcement))
    assert logits.shape == (18, 70, 4)
    assert logits.dtype == np.float16
    images, labels, *_ = load(layout.data("stripes")).split("train")
    resident = Resident(images, labels, STRIPES)
    teacher = load_network(layout.run(RUN), TEACHER.network, STRIPES)
    for view in range(18):
        seen, true = resident.batch(torch.arange(70), torch.full((70,), view))
        bounds = bounds_of(reinforcement, STRIPES)
        asked = reinforce(teacher, seen, true, reinforcement, bounds).images
        with torch.no_grad():
            expected = teacher(asked).logits
        np.testing.assert_allclose(logits[view], expected, rtol=1e-3, atol=1e-3)


def test_plain_logits_come_along_in_the_same_pass(layout, tables, tmp_path):
    reinforced, plain = tmp_path / "reinforced.npy", tmp_path / "plain.npy"
    strength = Reinforcement(4.0)
    tabulate(TEACHER, RUN, layout, strength, reinforced, plain=plain)
    assert reinforced.read_bytes() == tables(strength).read_bytes()
    np.testing.assert_allclose(np.load(plain), np.load(tables(PLAIN)), rtol=1e-3, atol=1e-3)
    assert json.loads(plain.with_suffix(".json").read_text())["reinforcement"] == "none"


def test_processes_fill_the_same_table(layout, tables, tmp_path):
    out = tmp_path / "t.npy"
    tabulate(TEACHER, RUN, layout, PLAIN, out, threads=3)
    assert out.read_bytes() == tables(PLAIN).read_bytes()
    assert left(tmp_path) == ["t.json", "t.npy"]


def test_filling_continues_where_it_was_stopped(layout, tables, tmp_path, monkeypatch):
    out, answers, asked = tmp_path / "t.npy", table._answers, []

    def slow(*arguments):
        time.sleep(0.03)
        return answers(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(table, "_answers", slow)
        process = get_context("fork").Process(
            target=lambda: tabulate(TEACHER, RUN, layout, PLAIN, out)
        )
        process.start()
        while not (tmp_path / ".t.part.json").exists():
            time.sleep(0.01)
        time.sleep(0.15)
        os.kill(process.pid, signal.SIGTERM)
        process.join()
    assert process.exitcode == 75
    assert not out.exists()
    monkeypatch.setattr(table, "_answers", lambda *a: asked.append(1) or answers(*a))
    tabulate(TEACHER, RUN, layout, PLAIN, out)
    assert 0 < len(asked) < 18
    assert out.read_bytes() == tables(PLAIN).read_bytes()


def test_a_part_of_another_teacher_is_not_continued(layout, tables, tmp_path):
    out = tmp_path / "t.npy"
    part = table.Part(out, table_file.Header("other", "data", "none", 18, 4), PLAIN, 70, "code")
    part.prepare()
    part.open()[1][:] = True  # pretends to be finished
    tabulate(TEACHER, RUN, layout, PLAIN, out)
    assert out.read_bytes() == tables(PLAIN).read_bytes()


def test_a_full_disk_is_noticed_before_anything_is_computed(layout, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Refused, match="no space left on the device"):
        tabulate(TEACHER, RUN, layout, PLAIN, tmp_path / "t.npy")
    assert left(tmp_path) == []


def test_two_do_not_fill_the_same_table(layout, tmp_path):
    with (
        locked(tmp_path / ".t.lock", "the other"),
        pytest.raises(Refused, match=r"table .*t.npy is being written by process"),
    ):
        tabulate(TEACHER, RUN, layout, PLAIN, tmp_path / "t.npy")


@pytest.mark.parametrize("uses", ["kd", "oracle"])
def test_table_and_forward_pass_train_the_same_student(layout, tables, uses):
    """As far as rounding logits to float16 lets them: a few steps apart by a thousandth."""
    settings = cell(uses, (0,), recipe=replace(RECIPE, epochs=1), **_gamma(uses))
    reinforcement = settings.method.needs.reinforcement or PLAIN
    students = []
    for path in (None, tables(reinforcement)):
        folder = layout.run(Run(settings.cell, 0))
        (folder / "run.yaml").unlink(missing_ok=True)
        train(settings, layout, table=path)
        students.append(load_file(folder / "weights.safetensors"))
    for name, by_forward in students[0].items():
        torch.testing.assert_close(students[1][name], by_forward, rtol=5e-3, atol=2e-3, msg=name)


def _gamma(uses: str) -> dict[str, float]:
    return {"gamma": 4.0} if uses == "oracle" else {}


def test_a_search_reads_the_rows_of_its_own_images(layout, tables):
    """Without the hold-out images, an image's number is not its row in the table."""
    settings = replace(cell("kd", (0,), recipe=replace(RECIPE, epochs=1)), holdout=True)
    folder = layout.run(Run(settings.cell, 0))
    losses = []
    for path in (None, tables(PLAIN)):
        (folder / "run.yaml").unlink(missing_ok=True)
        train(settings, layout, table=path)
        losses.append(float((folder / "history.csv").read_text().splitlines()[1].split(",")[3]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_the_last_view_counts_too(layout, tables):
    """A table is mapped, not read: a student must be able to reach its very end."""
    logits = table_file.open_table(tables(PLAIN), _header(layout))
    np.testing.assert_array_equal(logits[17, 69].numpy(), np.load(tables(PLAIN))[17, 69])


def _header(layout, run: Run = RUN) -> table_file.Header:
    data = load(layout.data("stripes")).manifest["digests"]["data.safetensors"]
    return table_file.Header.of(table.weights_digest(layout.run(run)), data, STRIPES, PLAIN)


def test_the_table_of_another_teacher_is_refused(layout, tables):
    settings = cell("kd", (0,), taught_by=1)
    with pytest.raises(Refused, match=r"does not fit: its teacher is .* expected .*tabulate"):
        train(settings, layout, table=tables(PLAIN))


def test_the_table_of_another_reinforcement_is_refused(layout, tables):
    settings = cell("oracle", (0,), gamma=2.0)
    with pytest.raises(Refused, match=r"its reinforcement is none, expected gradient-2"):
        train(settings, layout, table=tables(PLAIN))


@pytest.mark.parametrize("how", ["truncated", "flipped", "absent"])
def test_a_damaged_table_is_refused(layout, tables, tmp_path, how):
    path, content = tmp_path / "t.npy", bytearray(tables(PLAIN).read_bytes())
    if how == "flipped":
        content[-1] ^= 1
    path.write_bytes(content[: 100 if how == "truncated" else None])
    path.with_suffix(".json").write_bytes(tables(PLAIN).with_suffix(".json").read_bytes())
    if how == "absent":
        path.unlink()
    with pytest.raises(Refused, match="is missing" if how == "absent" else "is damaged"):
        table_file.open_table(path, _header(layout))


def test_a_table_that_is_demanded_but_not_given_is_refused(layout):
    with pytest.raises(Refused, match="no table of stripes/teacher8/ce was given"):
        train(cell("kd", (0,)), layout, teacher="table")


def test_a_table_is_left_aside_where_the_options_say_forward(layout, tables):
    settings = cell("kd", (2,))
    train(settings, layout)
    by_forward = files(settings, layout, 2)
    (layout.run(Run(settings.cell, 2)) / "run.yaml").unlink()
    train(settings, layout, table=tables(PLAIN), teacher="forward")
    assert files(settings, layout, 2) == by_forward
