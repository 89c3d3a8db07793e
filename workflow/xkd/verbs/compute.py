"""Verbs that compute: what the rules of the pipeline call, each of use by hand as well."""

import argparse
import os
import signal
from pathlib import Path

from xkd.errors import Refused
from xkd.files import read_json
from xkd.plan.declarations import declaration
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings, Reinforcement
from xkd.wording import span, spread


def prepare(plan: Plan, asked: argparse.Namespace) -> None:
    """one compact, checked file per data set"""
    from xkd.data.prepare import prepare

    out = plan.layout(asked.results).data(asked.subject)
    manifest = prepare(
        plan.dataset(asked.subject),
        Path(plan.config["data_root"]),
        out,
        download=plan.config["download"],
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in manifest["counts"].items())
    print(f"{asked.subject}: {counts} images of {len(manifest['class_names'])} classes  {out}")


def train(plan: Plan, asked: argparse.Namespace) -> int:
    """all seeds of a cell; what is complete is not trained again"""
    from xkd.search import decided

    layout = plan.layout(asked.results)
    settings = decided(plan.settings(Cell.parse(asked.subject)), layout)
    if status := _train(settings, plan, asked):
        return status
    _say(settings.cell, layout)
    return 0


def import_weights(plan: Plan, asked: argparse.Namespace) -> None:
    """weights that were trained elsewhere: a cell of their own, put to the test on arrival"""
    from xkd.engine.import_weights import import_weights
    from xkd.plan.jobs import code_of_import, modules_of, weights_file
    from xkd.records import code

    settings, layout = plan.settings(Cell.parse(asked.subject)), plan.layout(asked.results)
    if settings.weights is None:
        raise Refused(f"{settings.cell} is trained, not imported; run `xkd train {settings.cell}`")
    code.keep(layout, *modules_of(settings))
    import_weights(
        settings,
        data=layout.data(settings.dataset.name),
        layout=layout,
        code=code_of_import(settings),
        file=weights_file(plan, settings),
        download=plan.config["download"],
        threads=asked.threads,
        device=asked.device,
    )
    _say(settings.cell, layout)


def search(plan: Plan, asked: argparse.Namespace) -> int:
    """all trials of a cell's search, and the winner on the hold-out split"""
    from xkd.search import choose

    settings = plan.settings(Cell.parse(asked.subject))
    if settings.search is None:
        raise Refused(f"{settings.cell}: no option of '{settings.method.name}' is searched")
    for _, trial in settings.search.trials:
        if status := _train(plan.settings(trial), plan, asked):
            return status
    layout = plan.layout(asked.results)
    choose(settings, layout)
    winner = read_json(layout.search(settings.cell))["winner"]
    print(
        f"{settings.cell}: {settings.search.option} = {winner:g} scores best on held-out images; "
        f"{layout.search(settings.cell)}"
    )
    return 0


def _say(cell: Cell, layout: Layout) -> None:
    """Print how well a cell does, and where it is."""
    if os.environ.get("RANK", "0") != "0":  # of several processes the first speaks
        return
    runs = read_json(layout.manifest(cell))["runs"]
    scores = [run["metrics"]["top1"] for run in runs.values()]
    split = next(iter(runs.values()))["metrics"].get("split", "test")
    print(f"{cell}: {split} {spread(scores)} ({span([*map(int, runs)])})  {layout.cell(cell)}")


def _train(settings: CellSettings, plan: Plan, asked: argparse.Namespace) -> int:
    from xkd.engine.cell import train_cell
    from xkd.engine.options import EngineOptions
    from xkd.plan.jobs import code_of_training, modules_of
    from xkd.records import code

    if settings.weights:
        raise Refused(
            f"{settings.cell} comes from a file; run `xkd import_weights {settings.cell}`"
        )
    layout = plan.layout(asked.results)
    _require_data(settings, layout)
    code.keep(layout, *modules_of(settings))
    if settings.teacher:
        for seed in dict.fromkeys(map(settings.teacher.seed_for, settings.seeds)):
            _trained(settings.teacher.cell.run(seed), plan, asked)
    status = train_cell(
        settings,
        data=layout.data(settings.dataset.name),
        layout=layout,
        code=code_of_training(settings),
        table=asked.table,
        options=EngineOptions.of(
            {**plan.config["engine"], "threads": asked.threads, "device": asked.device}
        ),
    )
    if status:  # a second signal, while Python ends, must not make another status of it
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return status


def _require_data(settings: CellSettings, layout: Layout) -> None:
    """Refuse to begin without the prepared data set."""
    if not (layout.data(settings.dataset.name) / "manifest.json").exists():
        name = settings.dataset.name
        raise Refused(f"data set '{name}' is not prepared; run `xkd prepare {name}` first")


def _trained(run: Run, plan: Plan, asked: argparse.Namespace) -> CellSettings:
    """Settings of a run that is to be used. Raises Refused if it was trained with others."""
    from xkd.records.cards import require_settings
    from xkd.search import decided

    layout = plan.layout(asked.results)
    settings = plan.settings(run.cell)
    if not (layout.run(run) / "run.yaml").exists():
        verb = "import_weights" if settings.weights else "train"
        raise Refused(f"{run} is not there yet; run `xkd {verb} {run.cell}` first")
    require_settings(layout.run(run), decided(settings, layout))
    return settings


def tabulate_teacher(plan: Plan, asked: argparse.Namespace) -> None:
    """a frozen teacher's logits for every augmented view, on x or on x*"""
    from xkd.engine.table import tabulate

    run = Run.parse(asked.subject)
    tabulate(
        _trained(run, plan, asked),
        run,
        plan.layout(asked.results),
        Reinforcement.parse(asked.reinforcement),
        asked.out,
        threads=asked.threads,
        device=asked.device,
    )


def analyse(plan: Plan, asked: argparse.Namespace) -> None:
    """an analysis of a trained network, such as responses, clusters or explanations"""
    from xkd.analyses.base import Request, carry_out

    run = Run.parse(asked.run)
    options = plan.analysis(asked.subject, run.cell)
    reads = declaration("analyses", asked.subject)["READS"]
    carry_out(
        Request(
            asked.subject,
            run,
            _trained(run, plan, asked),
            plan.layout(asked.results),
            options,
            asked.threads,
            asked.device,
            {
                name: plan.analysis(name, run.cell)
                for name in reads
                if name not in ("data", "weights")
            },
        )
    )


def bench(plan: Plan, asked: argparse.Namespace) -> int:
    """how fast the engine is, beside loops written the way the field writes them"""
    from xkd import bench

    return bench.run(asked.device, asked.rows, asked.quick, asked.results / "bench")
