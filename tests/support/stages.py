"""The pipeline in miniature: every stage that writes results, as a function of where they go."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import fake_cells
from fake_cells import cell, train
from fake_data import DIGITS
from matplotlib.figure import Figure
from synthetic_results import item

from xkd.analyses.base import Request, carry_out
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


#: Analysis -> the trained cell and the options.
ANALYSES = {
    "responses": (
        TEACHER,
        {"gradient": [0, STRONGER.gamma], "sign": [], "keep": [4.0], "splits": ["test"]},
    ),
    "clusters": (
        TEACHER,
        {
            "gammas": [0, 4],
            "splits": ["test"],
            "points": 24,
            "perplexity": 5,
            "embedding_seeds": 1,
        },
    ),
    "explanations": (EXPLAINER, {"explanation": "gradcam", "pairs": [["a", "b"]]}),
}


def analyse(name: str, layout: Layout) -> None:
    settings, options = ANALYSES[name]
    carry_out(Request(name, settings.cell.run(0), settings, layout, options))


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
    **{name: Stage(partial(analyse, name), (f"analysis/{name}",)) for name in ANALYSES},
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
