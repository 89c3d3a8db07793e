"""Cells: what they leave, how little they repeat, and that no backend differs from another."""

import csv
import json
import os
import signal
from dataclasses import replace

import fake_cells
import pytest
import torch
import yaml
from fake_cells import NARROW, RECIPE, SMALL, STRIPES, cell, files, train
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from xkd import methods
from xkd.data.dataset import load
from xkd.data.stream import Resident, Stream
from xkd.engine import backends
from xkd.engine.backends import procs
from xkd.engine.build import build_method
from xkd.engine.options import EngineOptions
from xkd.engine.schedule import epoch_settings
from xkd.errors import Refused
from xkd.evaluate import load_network
from xkd.files import read_json
from xkd.methods.base import Batch, Group, TeacherAnswer
from xkd.plan.runs import Layout, Run
from xkd.reinforce import reinforce


@pytest.fixture(scope="module")
def school(tmp_path_factory) -> Layout:
    """Prepared data, and a trained teacher."""
    layout = Layout(tmp_path_factory.mktemp("school"))
    fake_cells.prepared(layout)
    train(fake_cells.teacher_settings((0, 1)), layout)
    return layout


@pytest.fixture
def layout(school, tmp_path) -> Layout:
    """A place for new runs, beside the data and the teacher of `school`."""
    (tmp_path / "runs" / "stripes").mkdir(parents=True)
    for shared in ("data", "runs/stripes/teacher8"):
        os.symlink(school.root / shared, tmp_path / shared)
    return Layout(tmp_path)


def history(settings, layout, seed=0) -> list[dict[str, str]]:
    with (layout.run(Run(settings.cell, seed)) / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_seed_leaves_an_ordinary_run_and_the_cell_a_manifest(layout):
    settings = cell()
    assert train(settings, layout) == 0
    manifest = json.loads(layout.manifest(settings.cell).read_text())
    assert manifest["cell"] == "stripes/resnet8/ce"
    assert list(manifest["runs"]) == ["0", "1"]
    rows = history(settings, layout)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["lr"]) for row in rows] == [0.05, 0.05, 0.005, 0.005]
    metrics = manifest["runs"]["0"]["metrics"]
    assert metrics["top1"] == pytest.approx(float(rows[-1]["test_top1"]))
    assert metrics["top1"] > 0.5, "stripes are easier than that"
    assert float(rows[0]["loss"]) > float(rows[-1]["loss"])
    card = yaml.safe_load((layout.run(Run(settings.cell, 0)) / "run.yaml").read_text())
    assert card["engine"]["backend"] == "loop"
    assert card["settings"]["recipe"]["lr"] == 0.05
    network = load_network(layout.run(Run(settings.cell, 0)), settings.network, STRIPES)
    assert sum(p.numel() for p in network.parameters()) == manifest["parameters"]


def test_a_seed_has_the_same_files_whenever_it_is_trained_and_whoever_shares_its_cell(layout):
    settings = cell("dropout", (0, 1))
    train(settings, layout)
    together = [files(settings, layout, seed) for seed in (0, 1)]
    other = Layout(layout.root / "again")
    other.root.mkdir()
    os.symlink(layout.root / "data", other.root / "data")
    train(replace(settings, seeds=(1,)), other)
    assert files(settings, other, 1) == together[1]
    assert together[0]["weights.safetensors"] != together[1]["weights.safetensors"]


def test_processes_agree_with_the_loop_bit_for_bit(layout):
    settings = cell("dropout", (0, 1, 2))
    train(settings, layout, backend="procs", threads=2)
    by_procs = [files(settings, layout, seed) for seed in settings.seeds]
    layout.manifest(settings.cell).unlink()
    for seed in settings.seeds:
        (layout.run(Run(settings.cell, seed)) / "run.yaml").unlink()
    train(settings, layout, backend="loop")
    assert [files(settings, layout, seed) for seed in settings.seeds] == by_procs


def test_what_is_born_again_starts_afresh_and_other_students_where_plain_training_does(layout):
    """At rate zero, weights stay what they were drawn."""
    frozen = replace(RECIPE, lr=0.0)
    plain = cell("ce", (0, 1), recipe=frozen)
    taught = cell("kd", (0, 1), recipe=frozen, taught_by=0)  # by a network like itself
    train(plain, layout)
    train(taught, layout)
    weights = {
        (settings.cell.method, seed): load_network(
            layout.run(Run(settings.cell, seed)), NARROW, STRIPES
        ).conv1.weight
        for settings in (plain, taught)
        for seed in (0, 1)
    }
    assert not torch.equal(weights["kd", 0], weights["ce", 0])
    assert torch.equal(weights["kd", 1], weights["ce", 1]), "its teacher had another seed"
    later = cell("fitnet", taught_by=0)
    assert later.draws_from(0) == taught.draws_from(0), "methods with the same teacher are paired"
    assert cell("kd", taught_by=0, network=SMALL).draws_from(0) == 0


def test_mutual_learning_leaves_both_networks_and_reports_the_first(layout):
    settings = cell("dml", (0,))
    train(settings, layout)
    folder = layout.run(Run(settings.cell, 0))
    card = yaml.safe_load((folder / "run.yaml").read_text())
    assert {"weights-peer.safetensors", "predictions-peer.npz", "metrics-peer.json"} < set(
        card["files"]
    )
    own, peer = (
        load_file(folder / f"weights{end}.safetensors")["conv1.weight"] for end in ("", "-peer")
    )
    assert own.shape == peer.shape
    assert not torch.equal(own, peer)
    scores = read_json(folder / "metrics-peer.json")
    assert scores["top1"] > 0.25, "better than chance"
    own_scores = read_json(folder / "metrics.json")
    assert scores.keys() - {"split"} < own_scores.keys()
    manifest = json.loads(layout.manifest(settings.cell).read_text())["runs"]["0"]
    assert manifest["metrics"] == own_scores


def test_one_more_seed_trains_only_that_seed(layout):
    settings = cell(seeds=(0,))
    train(settings, layout)
    card = layout.run(Run(settings.cell, 0)) / "run.yaml"
    before = card.stat().st_mtime_ns
    train(replace(settings, seeds=(0, 3)), layout)
    assert card.stat().st_mtime_ns == before
    assert list(json.loads(layout.manifest(settings.cell).read_text())["runs"]) == ["0", "3"]


def test_nothing_is_written_twice_and_the_manifest_keeps_its_bytes(layout):
    settings = cell(seeds=(0,))
    train(settings, layout)
    manifest = layout.manifest(settings.cell)
    content = manifest.read_bytes()
    manifest.unlink()  # as Snakemake does before it runs a job again
    train(settings, layout)
    assert manifest.read_bytes() == content


@pytest.mark.parametrize("how", ["learning rate", "damage", "precision"])
def test_what_no_longer_fits_is_trained_again(layout, how):
    settings = cell(seeds=(0,))
    train(settings, layout)
    folder = layout.run(Run(settings.cell, 0))
    before = (folder / "run.yaml").stat().st_mtime_ns
    if how == "learning rate":
        settings = replace(settings, recipe=replace(RECIPE, lr=0.01))
    elif how == "damage":
        (folder / "weights.safetensors").write_bytes(b"half a file")
    train(settings, layout, precision="float64" if how == "precision" else "float32")
    assert (folder / "run.yaml").stat().st_mtime_ns != before
    load_network(folder, settings.network, STRIPES)


def test_a_search_never_opens_the_test_split(layout, monkeypatch):
    opened = []
    split = type(load(layout.data("stripes"))).split
    monkeypatch.setattr(
        "xkd.data.dataset.PreparedData.split",
        lambda data, name: opened.append(name) or split(data, name),
    )
    settings = replace(cell(seeds=(0,)), holdout=True)
    train(settings, layout)
    assert set(opened) == {"fit", "holdout"}
    assert "holdout_top1" in history(settings, layout)[0]
    manifest = json.loads(layout.manifest(settings.cell).read_text())
    assert manifest["runs"]["0"]["metrics"]["split"] == "holdout"


def test_a_stage_with_its_own_recipe_leaves_the_schedule_of_the_next_alone(layout):
    settings = cell("hint", (0,), first_epochs=2, first_lr=0.02)
    train(settings, layout)
    rows = history(settings, layout)
    assert [row["stage"] for row in rows] == ["hint"] * 2 + ["train"] * 4
    assert [float(row["lr"]) for row in rows] == [0.02, 0.02, 0.05, 0.05, 0.005, 0.005]
    terms = ("loss_hint", "loss_kd")
    assert [bool(rows[0][term]) for term in terms] == [True, False], "terms belong to their stage"
    assert [bool(rows[-1][term]) for term in terms] == [False, True]


def test_momentum_runs_through_stages_that_share_the_recipe(layout):
    """A warm-up on labels followed by plain labels is plain training, to the bit."""
    introspection = {"explanation": 0.0, "ce": 1.0}
    settings = cell("le", (0,), warmup=2, spread="uniform", weights=introspection)
    train(settings, layout)
    plain = cell("ce", (0,))
    train(plain, layout)
    name = "weights.safetensors"
    assert files(settings, layout, 0)[name] == files(plain, layout, 0)[name]


class Explodes(methods.load("ce")):
    """Loses its mind in the second epoch of seed 1."""

    def stages(self, recipe):
        steps = 4
        self.countdown = steps + 2 if torch.initial_seed() == 1 else 10**6
        return super().stages(recipe)

    def forward(self, batch, stage):
        result = super().forward(batch, stage)
        self.countdown -= 1
        if self.countdown < 0:
            result.terms["ce"] = result.terms["ce"] * float("nan")
        return result


@pytest.mark.parametrize("backend", ["loop", "procs"])
def test_a_seed_whose_loss_is_no_number_stops_and_the_others_keep_their_results(
    layout, monkeypatch, backend
):
    monkeypatch.setattr(methods, "load", lambda name: Explodes)
    settings = cell(seeds=(0, 1, 2))
    with pytest.raises(Refused, match=r"1 of 3 seeds failed.*seed 1") as caught:
        train(settings, layout, backend=backend, threads=2, checkpoint_minutes=0)
    message = str(caught.value)
    for part in ("epoch 2, step 3 of 4", "learning rate 0.05", "after epoch 1", "seed1.pt"):
        assert part in message
    for seed in (0, 2):
        assert (layout.run(Run(settings.cell, seed)) / "run.yaml").exists()
    assert not (layout.run(Run(settings.cell, 1)) / "run.yaml").exists()
    assert not layout.manifest(settings.cell).exists()


def test_a_killed_process_harms_no_other_seed(layout, monkeypatch):
    train_seed = procs.train_seed

    def killed(job, seed):
        if seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        train_seed(job, seed)

    settings = cell(seeds=(0, 1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(procs, "train_seed", killed)
        with pytest.raises(Refused, match=r"seed 1: its process was ended by SIGKILL .* memory"):
            train(settings, layout, backend="procs", threads=3)
    kept = [files(settings, layout, seed) for seed in (0, 2)]
    train(settings, layout, backend="procs", threads=3)
    assert [files(settings, layout, seed) for seed in (0, 2)] == kept
    assert list(json.loads(layout.manifest(settings.cell).read_text())["runs"]) == ["0", "1", "2"]


# ------------------------------------------------------------- the engine against a naive loop


def naive_training(settings, layout, steps):
    """The same training as one would write it down: pads, crops, plain SGD, nothing shared."""
    data = load(layout.data("stripes")).split("train")
    teacher, reinforcement = None, settings.method.needs.reinforcement
    if settings.method.needs.parts:
        run = layout.run(Run(settings.teacher.cell, 0))
        teacher = load_network(run, settings.teacher.network, STRIPES).double()
    torch.manual_seed(settings.draws_from(0))
    # Channels last only because dropout draws its mask in the order of the memory.
    method = build_method(settings, teacher, data.labels)
    method = method.double().to(memory_format=torch.channels_last).train()
    resident = Resident(data.images, data.labels, STRIPES, dtype=torch.float64, channels_last=True)
    done, optimisers, uses_own_recipe = 0, [], False
    for epoch in epoch_settings(method.stages(settings.recipe), settings.recipe):
        if not optimisers or (epoch.first and (epoch.own or uses_own_recipe)):
            optimisers = naive_optimisers(method, epoch)
        uses_own_recipe = epoch.own
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * epoch.lr / epoch.recipe.lr
        for index, view in Stream(resident, epoch.recipe.batch, 0).epoch(epoch.epoch):
            images, labels = naive_batch(data, index, view), data.labels[index]
            strong = resident.strong_images(index) if method.STRONG_VIEW else None
            answer = None
            if teacher is not None:
                asked = images
                if reinforcement is not None:
                    asked = reinforce(teacher, images, labels, reinforcement).images
                with torch.no_grad():
                    out = teacher(asked, preactivations=True)
                    more = {} if strong is None else {"strong_logits": teacher(strong).logits}
                needed = set(settings.method.needs.parts) - more.keys() - {"ask"}
                parts = {part: getattr(out, part) for part in needed} | more
                answer = TeacherAnswer(**parts, ask=torch.no_grad()(teacher.__call__))
            batch = Batch(images, labels, answer, index, strong)
            result = method(batch, epoch.name)
            loss = sum(f * result.terms[term] for term, f in epoch.weights.items())
            method.zero_grad()
            loss.backward()
            if epoch.recipe.clip is not None:
                clip_grad_norm_(list(method.trained(epoch.name)), epoch.recipe.clip)
            for optimiser in optimisers:
                optimiser.step()
            method.after_update(batch)
            done += 1
            if done == steps:
                return method.student.state_dict()
    raise AssertionError("fewer steps than asked for")


def naive_optimisers(method, epoch):
    """torch's own optimisers; `initial_lr` is what the schedule scales."""
    recipe, special = epoch.recipe, method.groups(epoch.name)
    apart = {id(weight) for group in special for weight in group.parameters}
    rest = [weight for weight in method.trained(epoch.name) if id(weight) not in apart]
    made = []
    for group in (*special, Group(rest)):
        rate = recipe.lr if group.lr is None else group.lr
        decay = recipe.weight_decay if group.weight_decay is None else group.weight_decay
        settings = {"params": list(group.parameters), "initial_lr": rate}
        if group.optimiser == "adam":
            made.append(torch.optim.Adam([settings], rate, weight_decay=decay))
        else:
            made.append(torch.optim.SGD([settings], rate, recipe.momentum, weight_decay=decay))
    return made


def naive_batch(data, index, view):
    images = []
    for image, number in zip(data.images[index].double() / 255, view.tolist(), strict=True):
        padded = F.pad(image, (1, 1, 1, 1))
        row, column = divmod(number // 2, 3)
        crop = padded[:, row : row + 8, column : column + 8]
        images.append(crop.flip(2) if number % 2 else crop)
    normalised = (torch.stack(images) - STRIPES.mean[0]) / STRIPES.std[0]
    return normalised.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("backend", ["loop", "procs"])
@pytest.mark.parametrize("uses", methods.known())
def test_backends_agree_with_a_naive_loop_after_twelve_steps_in_float64(layout, uses, backend):
    two_stages = uses in ("hint", "fsp", "attentive")  # with an epoch of the second, three in all
    recipe = replace(RECIPE, epochs=2 if two_stages else 3, milestones=(1,))
    chosen = {"explain_epochs": 1} if uses == "attentive" else {}
    settings = cell(uses, (0,), recipe=recipe, **chosen)
    train(settings, layout, backend=backend, threads=2, precision="float64")
    expected = naive_training(settings, layout, steps=12)
    found = load_file(layout.run(Run(settings.cell, 0)) / "weights.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11, msg=name)


# -------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "prcs"}, "unknown engine backend 'prcs'; did you mean 'procs'"),
        ({"precision": "fp16"}, "unknown engine precision 'fp16'"),
        ({"threads": 0}, "engine threads is 0; expected 1 or more"),
        ({"checkpoint_minutes": -1}, "checkpoint_minutes is -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, message):
    with pytest.raises(Refused) as caught:
        EngineOptions(**given)
    assert message in str(caught.value)


def test_an_unknown_option_is_refused():
    with pytest.raises(Refused, match="did you mean 'precision'"):
        EngineOptions.of({"precison": "bf16"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
@pytest.mark.parametrize("given", [{"backend": "graph"}, {"device": "cuda"}, {"precision": "tf32"}])
def test_cuda_is_refused_where_there_is_none(layout, given):
    with pytest.raises(Refused, match="CUDA"):
        train(cell(), layout, **given)


def test_a_student_of_an_unfinished_teacher_is_refused(layout):
    settings = cell("kd", (0,), taught_by=7)
    with pytest.raises(Refused, match=r"seed7 is not a complete run"):
        train(settings, layout)


@pytest.mark.parametrize(
    ("options", "seeds", "on_cuda", "name"),
    [
        (EngineOptions(threads=4), 5, False, "procs"),
        (EngineOptions(threads=1), 5, False, "loop"),
        (EngineOptions(threads=4), 1, False, "loop"),
        (EngineOptions(threads=4), 5, True, "graph"),
        (EngineOptions(backend="loop", threads=4), 5, True, "loop"),
    ],
)
def test_auto_chooses_by_device_seeds_and_threads(options, seeds, on_cuda, name):
    assert backends.choose(options, seeds, on_cuda).name == name


def test_students_of_their_own_seed_have_different_teachers(layout):
    """Born-again networks learn each from the run with their own seed."""
    own, shared = cell("kd", (1,), taught_by=None), cell("kd", (1,), taught_by=0)
    train(own, layout)
    from_own = files(own, layout, 1)
    train(shared, layout)
    assert files(shared, layout, 1) != from_own


def test_the_perceptron_is_trained_by_the_same_loop(layout):
    settings = cell("le", (0,), network=SMALL, explanation="grad", warmup=1)
    train(settings, layout)
    rows = history(settings, layout)
    assert [row["stage"] for row in rows] == ["warmup"] + ["introspection"] * 3
    assert 0 <= float(rows[-1]["zero_map_other"]) <= 1


def test_bfloat16_trains_as_well(layout):
    settings = cell("le", (0,), warmup=1)
    train(settings, layout, precision="bf16")
    assert float(history(settings, layout)[-1]["test_top1"]) > 0.4
