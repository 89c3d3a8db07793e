"""`python -m xkd VERB`: what the computing rules call; works by hand and without Snakemake too.

Verbs parse, call and print; everything else lives in the modules they call, imported on demand.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xkd.engine.lease import lease_gpu
from xkd.engine.options import team_size
from xkd.errors import Refused
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Run
from xkd.plan.settings import CellSettings, Reinforcement

FROZEN = config.exported() or "config.yaml"  # the rules' jobs read the frozen config


def prepare(plan: Plan, asked: argparse.Namespace) -> None:
    """one compact, checked file per data set"""
    from xkd.data.prepare import prepare

    prepare(
        plan.dataset(asked.subject),
        Path(plan.config["data_root"]),
        plan.layout(asked.results).data(asked.subject),
        download=plan.config["download"],
    )


def train(plan: Plan, asked: argparse.Namespace) -> int:
    """all seeds of a cell; what is complete is not trained again"""
    from xkd.search import decided

    layout = plan.layout(asked.results)
    return _train(decided(plan.settings(Cell.parse(asked.subject)), layout), plan, asked)


def import_weights(plan: Plan, asked: argparse.Namespace) -> None:
    """weights that were trained elsewhere: a cell of their own, put to the test on arrival"""
    from xkd.engine.import_weights import import_weights
    from xkd.plan.jobs import code_of_import, weights_file

    settings, layout = plan.settings(Cell.parse(asked.subject)), plan.layout(asked.results)
    if settings.weights is None:
        raise Refused(f"{settings.cell} is trained, not imported; run `xkd train {settings.cell}`")
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


def search(plan: Plan, asked: argparse.Namespace) -> int:
    """all trials of a cell's search, and the winner on the hold-out split"""
    from xkd.search import choose

    settings = plan.settings(Cell.parse(asked.subject))
    if settings.search is None:
        raise Refused(f"{settings.cell}: no option of '{settings.method.name}' is searched")
    for _, trial in settings.search.trials:
        if status := _train(plan.settings(trial), plan, asked):
            return status
    choose(settings, plan.layout(asked.results))
    return 0


def _train(settings: CellSettings, plan: Plan, asked: argparse.Namespace) -> int:
    from xkd.engine.cell import train_cell
    from xkd.engine.options import EngineOptions
    from xkd.plan.jobs import code_of_training

    if settings.weights:
        raise Refused(
            f"{settings.cell} comes from a file; run `xkd import_weights {settings.cell}`"
        )
    layout = plan.layout(asked.results)
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


def _trained(run: Run, plan: Plan, asked: argparse.Namespace) -> CellSettings:
    """Settings of a run that is to be used. Raises Refused if it was trained with others."""
    from xkd.records.cards import require_settings
    from xkd.search import decided

    layout = plan.layout(asked.results)
    settings = plan.settings(run.cell)
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


def reinforce(plan: Plan, asked: argparse.Namespace) -> None:
    """a teacher's answers to plain and reinforced images"""
    from xkd.analyses.responses import ask_teacher

    run, inputs = Run.parse(asked.subject), plan.config["oracle_inputs"]
    ask_teacher(
        _trained(run, plan, asked),
        run,
        plan.layout(asked.results),
        plan.reinforcements(),
        keep=inputs["keep"],
        splits=inputs["splits"],
        threads=asked.threads,
        device=asked.device,
    )


def cluster(plan: Plan, asked: argparse.Namespace) -> None:
    """t-SNE and silhouettes of a teacher's answers"""
    from xkd.analyses.clusters import cluster_answers

    cluster_answers(
        Run.parse(asked.subject),
        plan.layout(asked.results),
        **plan.config["clusters"],
        threads=asked.threads,
    )


def explain(plan: Plan, asked: argparse.Namespace) -> None:
    """explanations of test images, and the class similarity they show"""
    from xkd.analyses.explanations import explain_run

    run = Run.parse(asked.subject)
    explain_run(
        _trained(run, plan, asked),
        run,
        plan.layout(asked.results),
        pairs=plan.config["class_pairs"].get(run.cell.dataset, []),
        threads=asked.threads,
        device=asked.device,
    )


def check(plan: Plan, asked: argparse.Namespace) -> None:
    """check the config, and count what it asks for"""
    runs = sum(len(settings.seeds) for settings in plan.cells.values())
    print(f"{asked.config}: sound; scale {plan.scale}, {len(plan.cells)} cells, {runs} runs")
    print(f"  {'item':24} {'in the paper':18} shown    new trials  (new: not in an item above)")
    counted: set[Run] = set()
    for item in sorted(plan.items.values(), key=lambda item: item.optional):
        shown = sum(len(seeds) for _, seeds in item.runs)
        fresh = plan.trainings(item) - counted
        trials = sum(run.cell.trial is not None for run in fresh)
        paper = f"{item.entry['paper']} {item.entry['number']}"
        print(f"  {item.name:24} {paper:18} {shown:5} {len(fresh) - trials:6} {trials:6}")
        counted |= fresh


def status(plan: Plan, asked: argparse.Namespace) -> None:
    """what is done, running, queued or failed, and why"""
    from xkd.monitor.status import status

    print("\n".join(status(plan, plan.layout(asked.results))))


def where(plan: Plan, asked: argparse.Namespace) -> None:
    """say where tables, figures and the report are"""
    root = plan.layout(asked.results).root
    for kind in ("tables", "figures"):
        count = sum(item.kind == kind for item in plan.items.values())
        print(f"{kind:8} {root / kind}/  ({count})")
    if (report := root / "report.html").exists():
        print(f"report   {report}")


def bench(plan: Plan, asked: argparse.Namespace) -> int:
    """how fast the engine is, beside loops written the way the field writes them"""
    from xkd import bench

    return bench.run(asked.device, asked.rows, asked.quick, asked.results / "bench")


#: Verb -> what its argument is, or None where it takes none; and whether it computes on a device.
VERBS: dict[Callable[[Plan, argparse.Namespace], Any], tuple[str | None, bool]] = {
    prepare: ("data set", False),
    train: ("cell: dataset/network/method[/from-teacher]", True),
    import_weights: ("cell: dataset/network/checkpoint", True),
    search: ("cell: dataset/network/method[/from-teacher]", True),
    tabulate_teacher: ("run: a cell, then /seed<number>", True),
    reinforce: ("run: a cell, then /seed<number>", True),
    cluster: ("run: a cell, then /seed<number>", False),
    explain: ("run: a cell, then /seed<number>", True),
    bench: (None, True),
    check: (None, False),
    status: (None, False),
    where: (None, False),
}


def parser() -> argparse.ArgumentParser:
    """The command line, verb by verb."""
    top = argparse.ArgumentParser(prog="xkd", description=__doc__.splitlines()[0])
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for action, (subject, computes) in VERBS.items():
        verb = verbs.add_parser(action.__name__, help=action.__doc__)
        verb.set_defaults(action=action)
        if subject:
            verb.add_argument("subject", metavar=subject.split(":")[0].replace(" ", "_").upper())
        if computes or action is cluster:
            verb.add_argument("--threads", type=int, default=1, help="cores to use")
        if computes:
            verb.add_argument("--device", default="auto", help="auto, cpu or cuda")
        if action in (train, search):
            verb.add_argument("--table", type=Path, help="what tabulate_teacher wrote")
        if action is bench:
            verb.add_argument("--rows", type=lambda names: names.split(","), help="a,b,...")
            verb.add_argument("--quick", action="store_true", help="a look, no measurement")
        if action is tabulate_teacher:
            verb.add_argument("--reinforcement", default="gradient-0", help="e.g. gradient-0.5")
            verb.add_argument("--out", type=Path, required=True)
        verb.add_argument("--config", default=FROZEN, help="config.yaml, or a frozen config")
        verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
        verb.add_argument("--results", type=Path, default=Path("results"))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 refused (one line says why), 75 stopped by SIGTERM and resumable."""
    asked = parser().parse_args(arguments)
    try:
        plan = Plan(config.load(Path(asked.config), asked.sets), name=str(asked.config))
        if (team := team_size()) > 1 and asked.action is not train:
            raise Refused(f"torchrun started {team} processes; only `xkd train` shares its work")
        if getattr(asked, "device", "cpu") != "cpu":
            lease_gpu(1 if team > 1 else plan.config["engine"]["cells_per_gpu"])
        status = asked.action(plan, asked) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Refused as problem:
        print(f"xkd {asked.verb}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"xkd {asked.verb}: interrupted; the same command continues", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
