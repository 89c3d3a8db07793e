"""The pipeline in miniature: every stage that writes results, as a function of where they go."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import fake_cells
from fake_cells import cell, train
from fake_data import DIGITS
from matplotlib.figure import Figure
from synthetic_results import item

from xkd.analyses.clusters import cluster_answers
from xkd.analyses.explanations import explain_run
from xkd.analyses.responses import ask_teacher
from xkd.data.prepare import prepare
from xkd.engine.table import tabulate
from xkd.plan.runs import Layout
from xkd.plan.settings import CellSettings, Reinforcement
from xkd.report import plots, published, results, tables

TEACHER = fake_cells.teacher_settings()
TEACHING = TEACHER.cell.run(0)
PUPILS = cell("kd", (0, 1))
EXPLAINER = cell("le", (0,), warmup=2)
STRONGER = Reinforcement(4.0)
UNLIKE = ("run.yaml", "timing.csv")  # hosts, dates and durations: the only files that may differ


class Stage(NamedTuple):
    """run: does it; folders: what it writes, below the root of the results."""

    run: Callable[[Layout], object]
    folders: tuple[str, ...]


def table_of(layout: Layout) -> Path:
    return layout.table(TEACHING, Reinforcement(0.0))


def teach(layout: Layout, **engine: object) -> int:
    return train(PUPILS, layout, table_of(layout), **{"checkpoint_minutes": 0, **engine})


def draw(layout: Layout) -> None:
    """A table and a figure of what the cells left."""
    manifests = [layout.manifest(settings.cell) for settings in (TEACHER, PUPILS, EXPLAINER)]
    runs = results.read_cells(manifests)
    made = tables.accuracy_table(runs, published.load(None, item()["labels"]), item())
    tables.save(made, _outputs(layout, "tables"))
    figure = Figure()
    figure.subplots().plot(runs.top1)
    plots.save(figure, runs, _outputs(layout, "figures"))


def _outputs(layout: Layout, kind: str) -> SimpleNamespace:
    return SimpleNamespace(**{k: Path(v) for k, v in layout.item(kind, "item").items()})


def _folder(settings: CellSettings) -> str:
    return f"runs/{settings.cell}"


#: In the order in which they need each other.
STAGES = {
    "prepare": Stage(
        lambda layout: prepare(DIGITS, layout.root, layout.data("digits")), ("data/digits",)
    ),
    "teacher": Stage(
        lambda layout: train(TEACHER, layout, checkpoint_minutes=0), (_folder(TEACHER),)
    ),
    "explainer": Stage(
        lambda layout: train(EXPLAINER, layout, checkpoint_minutes=0), (_folder(EXPLAINER),)
    ),
    "table": Stage(
        lambda layout: tabulate(TEACHER, TEACHING, layout, Reinforcement(0.0), table_of(layout)),
        ("teachers",),
    ),
    "train": Stage(teach, (_folder(PUPILS),)),
    "reinforce": Stage(
        lambda layout: ask_teacher(
            TEACHER, TEACHING, layout, [Reinforcement(0.0), STRONGER], keep=[4.0], splits=["test"]
        ),
        ("oracle",),
    ),
    "cluster": Stage(
        lambda layout: cluster_answers(
            TEACHING, layout, gammas=[0, 4], splits=["test"], points=24, perplexity=5,
            embedding_seeds=1,
        ),
        ("analysis/clusters",),
    ),
    "explain": Stage(
        lambda layout: explain_run(EXPLAINER, EXPLAINER.cell.run(0), layout, pairs=[["a", "b"]]),
        ("analysis/explanations",),
    ),
    "items": Stage(draw, ("tables", "figures")),
}  # fmt: skip


def content(layout: Layout) -> dict[str, bytes]:
    """Every file that must be the same however often a run was disturbed; hidden ones are not."""
    return {
        str(path.relative_to(layout.root)): path.read_bytes()
        for path in sorted(layout.root.rglob("*"))
        if path.is_file()
        and path.name not in UNLIKE
        and not any(part.startswith(".") for part in path.relative_to(layout.root).parts)
    }
