"""Cells and runs described: accuracy, curves, settings, who uses them."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import is_committed, read_json, verify
from xkd.inspection import origin
from xkd.inspection.target import Committed, Target
from xkd.inspection.text import Description, sparkline
from xkd.plan import names
from xkd.plan.runs import Run
from xkd.records import cards
from xkd.wording import percent, size, span, spread

VERIFIED = 500e6  # bytes; the digest of a larger file is not computed for a look at it


def describe_cell(target: Target) -> Description:
    """All seeds of a cell: accuracy, curve, settings, state, use.

    Raises: Refused when its manifest is damaged.
    """
    cell, layout = target.cell, target.layout
    found = Description(f"{names.title(target.plan, cell)} ({layout.root.name})", str(target.path))
    manifest = manifest_of(target)
    if manifest is None:
        found.add("state", "not there yet")
        origin.add_training(found, target, cell)
        origin.add_users(found, target, cell)
        return found
    runs = {int(seed): run for seed, run in manifest["runs"].items()}
    seeds = sorted(runs)
    weights = f"; {count:,} parameters" if (count := manifest.get("parameters")) else ""
    found.add("cell", f"{len(seeds)} of its seeds are complete{weights}")
    found.add("accuracy", accuracy(runs))
    cards_of = {seed: cards.read(layout.run(Run(cell, seed))) for seed in seeds}
    histories = {seed: _history_if_any(layout.run(Run(cell, seed))) for seed in seeds}
    found.add("curves", _curves(histories))
    found.add("seeds", list(_seed_rows(target, runs, cards_of, histories)))
    if seeds:
        origin.add_settings(found, cards_of[seeds[0]]["settings"])
    origin.add_users(found, target, cell)
    origin.add_training(found, target, cell)
    found.add("more", f"xkd inspect {cell}/seed{seeds[0]}{target.option}" if seeds else None)
    return found


def describe_run(target: Target) -> Description:
    """One seed: metrics, curve, settings, files with their sizes, circumstances.

    Raises: Refused when the run is not complete, or a file is not as it was written.
    """
    run, folder = target.run, target.layout.run(target.run)
    card = cards.read(folder)
    verify_files(folder, card)
    title = f"{names.title(target.plan, run.cell)} · seed {run.seed} ({target.layout.root.name})"
    found = Description(title, str(target.path))
    add_metrics(found, read_json(folder / "metrics.json"))
    if history := _history_if_any(folder):
        add_curves(found, history)
    found.add("state", origin.state(target, card))
    origin.add_settings(found, card["settings"])
    add_circumstances(found, card)
    origin.add_users(found, target, run.cell)
    origin.add_training(found, target, run.cell)
    there = [folder / name for name in card["files"] if (folder / name).exists()]
    files = [f"{path.name}  {size(path.stat().st_size)}" for path in there]
    found.add("files", files)
    return found


def verify_files(folder: Path, card: Mapping[str, Any]) -> None:
    """See that the files of a run are as its card says; the largest only by being there.

    Raises: Refused for the first that is not.
    """
    for name, expected in card["files"].items():
        path = folder / name
        if is_committed(path) and not path.exists():
            continue
        if not path.exists() or path.stat().st_size < VERIFIED:
            verify(path, str(expected), folder / "run.yaml")


def manifest_of(target: Target) -> dict[str, Any] | None:
    """`cell.json`, or None where there is none yet; of committed runs what they say themselves.

    Raises: Refused when it is damaged.
    """
    cell, layout = target.cell, target.layout
    if isinstance(layout, Committed):
        folders = {seed: layout.run(Run(cell, seed)) for seed in layout.seeds(cell)}
        return {"runs": {s: {"metrics": read_json(f / "metrics.json")} for s, f in folders.items()}}
    path = layout.manifest(cell)
    return read_manifest(path) if path.exists() else None


def read_manifest(path: Path) -> dict[str, Any]:
    """`cell.json`. Raises Refused when it is not in the expected form."""
    content = read_json(path)
    try:
        assert isinstance(content["parameters"], int)
        assert all(isinstance(run["metrics"]["top1"], float) for run in content["runs"].values())
    except (KeyError, TypeError, AttributeError, AssertionError) as problem:
        raise Refused(
            f"{path} is not in the expected form ({type(problem).__name__}: {problem}); "
            "delete it and run the same command again"
        ) from None
    return content


def read_history(path: Path) -> list[dict[str, float | str]]:
    """One record per epoch, numbers as numbers; an empty field is nan.

    Raises: Refused when it has no epochs, or rows of other lengths than its head.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        records = [{key: _number(value) for key, value in row.items()} for row in rows]
        if not records or not all(isinstance(record["epoch"], float) for record in records):
            raise ValueError("no epochs")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as problem:
        raise Refused(
            f"{path} is damaged ({problem}); delete the run's folder and train its cell again"
        ) from None
    return records


def _number(text: str | None) -> float | str:
    if text is None:
        raise ValueError("a line is cut short")
    if text == "":
        return math.nan
    try:
        return float(text)
    except ValueError:
        return text


def add_metrics(found: Description, metrics: Mapping[str, Any]) -> None:
    """The facts `accuracy` and `calibration` of one run."""
    text = f"{percent(metrics['top1'])} % on {metrics.get('split', 'test')} images"
    if "best_top1" in metrics:
        text += (
            f", last of {metrics['epochs']} epochs; best {percent(metrics['best_top1'])} % "
            f"at epoch {metrics['best_epoch']}; training {percent(metrics['train_top1'])} %"
        )
    found.add("accuracy", text)
    found.add(
        "calibration",
        f"ECE {metrics['ece']:.4f} (20 bins), {metrics['ece15']:.4f} (15 bins); "
        f"NLL {metrics['nll']:.4f} nats",
    )


def add_curves(found: Description, history: list[dict[str, float | str]]) -> None:
    """The fact `curves`: a sparkline per column with its first and last value."""
    rows = []
    for name in history[0]:
        values = [record[name] for record in history]
        if name in ("epoch", "stage") or not all(isinstance(value, float) for value in values):
            continue
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            rows.append(f"{name:18} {sparkline(values)}  {finite[0]:.4g} → {finite[-1]:.4g}")
    found.add("curves", rows)
    stages = dict.fromkeys(str(record["stage"]) for record in history if record.get("stage"))
    if len(stages) > 1:
        found.add("stages", ", then ".join(stages))


def add_circumstances(found: Description, card: Mapping[str, Any]) -> None:
    """The facts `code` and `trained`: commit, versions, machine, date, duration."""
    versions = card.get("versions", {})
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("python", "torch") if name in versions
    )
    code = card["fingerprint"].partition("-")[0]
    found.add("code", f"{code}, commit {card.get('commit', 'unknown')}, {shown}")
    engine, seconds = card.get("engine", {}), card.get("seconds")
    parts = [f"on {engine.get('device', '?')} of {card.get('host', '?')}"]
    if "backend" in engine:
        parts.append(f"by {engine['backend']}, {engine['precision']}")
    parts += [f"{seconds:.1f} s"] if seconds is not None else []
    found.add("trained", f"{', '.join(parts)}, finished {card.get('finished', '?')}")


def _history_if_any(folder: Path) -> list[dict[str, float | str]]:
    """Empty for weights that were trained elsewhere."""
    path = folder / "history.csv"
    return read_history(path) if path.exists() else []


def accuracy(runs: Mapping[int, Mapping[str, Any]]) -> str:
    """`test 94.48 ± 1.19 % (seeds 0-4: 94.4 92.6 ...)`."""
    scores = [runs[seed]["metrics"]["top1"] for seed in sorted(runs)]
    if not scores:
        return "no seed is complete"
    split = next(iter(runs.values()))["metrics"].get("split", "test")
    each = " ".join(percent(score, 1) for score in scores)
    return f"{split} {spread(scores)} ({span(list(runs))}: {each})"


def _curves(histories: Mapping[int, list[dict[str, float | str]]]) -> list[str]:
    rows = []
    for seed, history in histories.items():
        column = next(
            (c for c in ("test_top1", "holdout_top1") if history and c in history[0]), None
        )
        if column:
            values = [float(record[column]) for record in history]
            ends = f"{percent(values[0], 1)} → {percent(values[-1], 1)} %"
            rows.append(f"seed {seed}  {column.partition('_')[0]} {sparkline(values)}  {ends}")
    return rows


def _seed_rows(target, runs, cards_of, histories):
    """Best epoch, duration, commit and state of every seed."""
    yield "seed   last   best      time  commit        state"
    for seed in sorted(runs):
        metrics, card = runs[seed]["metrics"], cards_of[seed]
        best = (
            f"{percent(metrics['best_top1'], 1)} e{metrics['best_epoch']}"
            if histories[seed]
            else "-"
        )
        seconds = f"{card['seconds']:.1f} s" if "seconds" in card else "-"
        yield (
            f"{seed:4}  {percent(metrics['top1'], 1):>5}  {best:>8}  {seconds:>8}  "
            f"{card.get('commit', 'unknown'):12}  {origin.state(target, card)}"
        )


def epoch_rows(target: Target, epoch: int) -> list[str]:
    """What the histories of a run, or of all seeds of a cell, say of one epoch.

    Raises: Refused for what has no history, or not so many epochs.
    """
    folders = [target.layout.run(target.run)] if target.run else []
    if target.cell and not target.run:
        folders = sorted(target.layout.cell(target.cell).glob("seed*"))
    rows = []
    for folder in folders:
        history = _history_if_any(folder)
        if history and not 1 <= epoch <= len(history):
            raise Refused(f"{folder}: found epoch {epoch}, expected 1 to {len(history)}")
        if history:
            told = {k: v for k, v in history[epoch - 1].items() if k != "epoch" and v == v}
            parts = [
                f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in told.items()
            ]
            rows.append(f"{folder.name}: {', '.join(parts)}")
    if not rows:
        raise Refused(f"{target.path} has no history; expected a run or a cell that is trained")
    return rows
