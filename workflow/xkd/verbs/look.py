"""Verbs that look: at the config, at what is under way, at what came out."""

import argparse

from xkd.plan.grid import Plan
from xkd.plan.runs import Run


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
        paper = f"{item.paper['label']} {item.entry['number']}"
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
