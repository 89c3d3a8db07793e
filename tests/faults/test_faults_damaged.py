"""Files that lost their end, or of which a single bit turned over."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from stages import EXPLAINER, PUPILS, STAGES, TEACHER, TEACHING, content, teach
from test_faults_killed import MOMENTS, in_process

from xkd.data.dataset import load
from xkd.errors import Refused
from xkd.files import read_json, write_json
from xkd.plan.runs import Layout, Run


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Damage(NamedTuple):
    """file: below the results; noticed_by: who refuses it; mended_by: the stage that remakes it."""

    file: str
    noticed_by: str | None
    mended_by: str


SEED = f"runs/{PUPILS.cell}/seed1"
DAMAGES = {
    "prepared data": Damage("data/digits/data.safetensors", "load", "prepare"),
    "a teacher's weights": Damage(f"runs/{TEACHING}/weights.safetensors", "table", "teacher"),
    "weights under analysis": Damage(
        f"runs/{EXPLAINER.cell}/seed0/weights.safetensors", "explanations", "explainer"
    ),
    "a student's weights": Damage(f"{SEED}/weights.safetensors", None, "train"),
    "a history": Damage(f"{SEED}/history.csv", "items", "train"),
    "predictions": Damage(f"{SEED}/predictions.npz", "items", "train"),
    "metrics": Damage(f"{SEED}/metrics.json", "items", "train"),
    "a teacher's table": Damage(f"teachers/{TEACHING}/gradient-0.npy", "train", "table"),
    "a teacher's answers": Damage(
        f"analysis/responses/{TEACHING}/gradient-0/test.npz", "clusters", "responses"
    ),
}
#: They carry digests of themselves.
MANIFESTS = {
    "a manifest of data": Damage("data/digits/manifest.json", "load", "prepare"),
    "a manifest of a cell": Damage(f"runs/{PUPILS.cell}/cell.json", "items", "train"),
    "a teacher's run card": Damage(f"runs/{TEACHING}/run.yaml", "table", "teacher"),
    "a manifest of answers": Damage(
        f"analysis/responses/{TEACHING}/responses.json", "clusters", "responses"
    ),
}
CASES = [(DAMAGES[name], how) for name in DAMAGES for how in (truncated, flipped)]
CASES += [(damage, how) for damage in MANIFESTS.values() for how in (truncated, flipped)]
NAMES = [f"{name}, {how.__name__}" for name in DAMAGES for how in (truncated, flipped)]
NAMES += [f"{name}, {how.__name__}" for name in MANIFESTS for how in (truncated, flipped)]


@pytest.mark.parametrize(("damage", "how"), CASES, ids=NAMES)
def test_a_damaged_file_is_refused_and_made_again(
    damage: Damage, how: Callable, whole: Layout, expect_the_same: Callable
) -> None:
    path = whole.root / damage.file
    others = [p for p in (whole.root / "runs").rglob("seed*/*") if p.parent != path.parent]
    ages = {other: other.stat().st_mtime_ns for other in others}
    how(path)
    if damage.noticed_by:
        readers = {"load": lambda layout: load(layout.data("digits"))}
        readers |= {name: stage.run for name, stage in STAGES.items()}
        if damage.noticed_by == "train":  # a student that has yet to be trained
            (whole.run(Run(PUPILS.cell, 1)) / "run.yaml").unlink()
            others = [other for other in others if "seed1" not in str(other)]
        before = content(whole)
        with pytest.raises(Refused) as caught:
            readers[damage.noticed_by](whole)
        message = str(caught.value)
        assert path.name in message or path.parent.name in message
        assert "\n" not in message
        assert content(whole) == before, "nothing is made of damaged files"
    STAGES[damage.mended_by].run(whole)
    if damage.noticed_by == "train":
        STAGES["train"].run(whole)
    expect_the_same(whole)
    assert all(other.stat().st_mtime_ns == ages[other] for other in others), "others are kept"


@pytest.mark.parametrize("generations", ["the last", "both"])
@pytest.mark.parametrize("how", [truncated, flipped])
def test_a_damaged_checkpoint_is_set_aside(
    how: Callable, generations: str, until: Callable, expect_the_same: Callable, capfd
) -> None:
    layout = until("train")
    assert in_process(MOMENTS["writing weights"], "train", layout) == -signal.SIGKILL
    last = layout.resume(Run(PUPILS.cell, 0))
    previous = last.with_name(f"{last.name}.previous")
    for path in (last, previous)[: 1 if generations == "the last" else 2]:
        how(path)
    capfd.readouterr()
    assert teach(layout) == 0
    told = capfd.readouterr().err
    assert f"checkpoint {last} not used" in told
    assert ("seed 0 continues after epoch" in told) == (generations == "the last")
    assert last.with_name(f"{last.name}.damaged").exists()
    expect_the_same(layout, after="train")


def test_numbers_in_a_manifest_that_are_not_those_of_the_runs_are_refused(whole: Layout) -> None:
    manifest = whole.manifest(TEACHER.cell)
    content = read_json(manifest)
    content["runs"]["0"]["metrics"]["top1"] = 0.99
    write_json(manifest, content)
    with pytest.raises(Refused, match=r"cell.json is damaged: its metrics of seed 0 are not those"):
        STAGES["items"].run(whole)
