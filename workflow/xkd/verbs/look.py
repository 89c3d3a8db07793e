"""Verbs that look: at the config, at what is under way, at what came out."""

import argparse
from difflib import get_close_matches
from fnmatch import fnmatch

from xkd.errors import Refused
from xkd.plan import hours, names
from xkd.plan.grid import Plan
from xkd.plan.runs import Run


def check(plan: Plan, asked: argparse.Namespace) -> None:
    """check the config, and count what it asks for, with about how many hours it takes"""
    from xkd.monitor.status import expected

    wanted = {run for i in plan.items.values() if not i.optional for run in plan.trainings(i)}
    jobs = len(expected(plan, plan.layout(asked.results))) + 1  # and `all` itself
    print(
        f"{asked.config}: sound; scale {plan.scale}; `all` needs {_count(wanted)}, {jobs} jobs "
        f"and about {hours.of(wanted, plan)}"
    )
    everything = {Run(s.cell, seed) for s in plan.cells.values() for seed in s.seeds}
    if extra := everything - wanted:
        print(f"optional items add {_count(extra)} and about {hours.of(extra, plan)}")
    head = ("table or figure", "in the paper", "runs", "to train", "trials", "hours")
    print("  {:28} {:42} {:>5} {:>9} {:>7}  {}".format(*head))
    counted: set[Run] = set()
    for item in sorted(plan.items.values(), key=lambda item: item.optional):
        shown = sum(len(seeds) for _, seeds in item.runs)
        fresh = plan.trainings(item) - counted
        trials = sum(run.cell.trial is not None for run in fresh)
        paper = f"{item.paper['label']} {item.entry['number']}"
        optional = ", optional" if item.optional else ""
        print(
            f"  {item.name:28} {paper + optional:42} {shown:5} {len(fresh) - trials:9} "
            f"{trials:7}  {hours.of(fresh, plan)}"
        )
        counted |= fresh
    print(
        "to train: runs and teachers that no item above needs already; trials of searches besides; "
        "hours: of both"
    )


def _count(runs: set[Run]) -> str:
    """`116 cells, 521 runs`."""
    return f"{len({run.cell for run in runs})} cells, {len(runs)} runs"


def cells(plan: Plan, asked: argparse.Namespace) -> None:
    """the cells that can be trained, and how many of their seeds are there"""
    from xkd.monitor.status import seeds_there

    layout = plan.layout(asked.results)
    chosen = [cell for cell in plan.cells if _fits(str(cell), asked.subject, asked.trials)]
    if not chosen:
        raise Refused(_none_fits(asked.subject, plan))
    width = max(len(str(cell)) for cell in chosen)
    for cell in chosen:
        settings = plan.cells[cell]
        there = len(seeds_there(settings, layout))
        state = f"{there} of {len(settings.seeds)} there"
        print(f"{cell!s:{width}}  {state:12}  {names.title(plan, cell)}")


def _fits(cell: str, pattern: str, trials: bool) -> bool:
    """Whether a pattern is a part of a cell, or describes all of it with * and ?."""
    if not trials and "/fit" in cell and "fit" not in pattern:
        return False
    return fnmatch(cell, pattern) if set(pattern) & set("*?[") else pattern in cell


def _none_fits(pattern: str, plan: Plan) -> str:
    words = {part for cell in plan.cells for part in str(cell).split("/")}
    near = [n for part in pattern.split("/") for n in get_close_matches(part, words, n=1)]
    hint = f"; did you mean '{'/'.join(near)}'?" if near else ""
    return f"no cell at scale {plan.scale} fits '{pattern}'{hint}"


def status(plan: Plan, asked: argparse.Namespace) -> None:
    """what is done, running, queued or failed, and why"""
    from xkd.monitor.status import status

    print("\n".join(status(plan, plan.layout(asked.results))))


def page(plan: Plan, asked: argparse.Namespace) -> None:
    """one page of everything that came out: verdicts, numbers, runs, curves"""
    from xkd.plan import comparability
    from xkd.report import page

    if asked.reference:
        folders = tuple(paper["folder"] for paper in plan.config["papers"].values())
        plan = Plan(dict(comparability.reference(folders)))
    folder = asked.results / "reference" if asked.reference else None
    print(page.write(plan, plan.layout(asked.results), folder))


def where(plan: Plan, asked: argparse.Namespace) -> None:
    """where tables, figures and the report are, and what became of the papers' claims"""
    from xkd.monitor.outcome import outcome

    print("\n".join(outcome(plan, plan.layout(asked.results))))
