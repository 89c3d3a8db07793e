"""Identities and paths: every run has one folder, and the folder says which run it is."""

from pathlib import Path

import pytest

from xkd.errors import Refused
from xkd.plan.runs import Cell, Layout, Run


@pytest.mark.parametrize(
    "text",
    [
        "cifar10/resnet14/le_gradcam/seed3",
        "cifar10/resnet14/kd/from-resnet26/seed0",
        "cifar10/resnet8/kd/from-resnet14-kd/seed12",
    ],
)
def test_path_and_run_are_inverse(text: str) -> None:
    assert str(Run.parse(text)) == text


def test_teacher_is_named_by_network_and_by_method_unless_plain_ce() -> None:
    assert Cell("cifar10", "resnet26", "ce").slug == "resnet26"
    assert Cell("cifar10", "resnet20", "kd", "resnet26").slug == "resnet20-kd"


@pytest.mark.parametrize(
    "text",
    ["cifar10/resnet14", "a/b/c/d/seed0", "x; rm -rf ~/b/c/seed0", "../b/c/seed0", "a/b/c/seedx"],
)
def test_what_is_no_run_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not a"):
        Run.parse(text)


def test_all_files_of_a_run_lie_under_its_scale() -> None:
    layout = Layout(Path("results/demo"))
    run = Run.parse("digits/resnet8/kd/from-resnet14/seed1")
    assert layout.run(run) == Path("results/demo/runs/digits/resnet8/kd/from-resnet14/seed1")
    assert layout.manifest(run.cell).parent == layout.run(run).parent
