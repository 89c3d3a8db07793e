"""A small tree of results, as the result page reads it: a few invented runs of the demo's cells."""

from pathlib import Path

from xkd.files import plain, write_json, write_yaml
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout

EPOCHS = 3
NASTY = "</script><b>&'\""


def accuracy(cell: Cell, seed: int) -> float:
    """Differs by method, network and seed, and not by the same amount for each seed."""
    spread = 1 + len(cell.method) % 3
    return 0.8 + len(cell.method) / 200 + len(cell.network) / 1000 + spread * (seed * 7 % 5) / 500


def write_run(folder: Path, plan: Plan, cell: Cell, seed: int, **changed: object) -> Path:
    """A complete run without weights; `changed` goes into its recipe."""
    settings = plain(plan.settings(cell).slice())
    if settings["recipe"]:
        settings["recipe"] |= changed
    top1 = accuracy(cell, seed)
    path = folder / f"seed{seed}"
    path.mkdir(parents=True)
    card = {
        "run": f"{cell}/seed{seed}",
        "fingerprint": "c0de-5e77",
        "settings": settings,
        "engine": {"device": "cpu", "precision": "float32"},
        "commit": "abc",
        "versions": {"torch": "2.0"},
        "host": NASTY,
        "seconds": 1.5,
        "finished": "2026-01-02T03:04:05",
        "files": {},
    }
    write_yaml(path / "run.yaml", card)
    metrics = {"top1": top1, "best_top1": top1 + 0.01, "best_epoch": 2, "ece": 0.05}
    metrics |= {"train_top1": 0.95, "epochs": EPOCHS, "split": "test"}
    write_json(path / "metrics.json", metrics)
    rows = [f"{e},{2 / e:.4f},{0.5 + e / 10:.4f},{top1 - (EPOCHS - e) / 10:.4f}" for e in (1, 2, 3)]
    (path / "history.csv").write_text("\n".join(["epoch,loss,train_top1,test_top1", *rows]) + "\n")
    return path


def write_results(plan: Plan, layout: Layout, items: tuple[str, ...]) -> None:
    """All runs of these items, and a file for each form of the first."""
    for item in (plan.items[name] for name in items):
        for cell, seeds in item.runs:
            for seed in seeds:
                if not (layout.cell(cell) / f"seed{seed}").exists():
                    write_run(layout.cell(cell), plan, cell, seed)
    first = plan.items[items[0]]
    for path in map(Path, layout.item(first.kind, first.name).values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<!-- table --><p>drawn</p><!-- /table -->")
