"""What a finished run leaves behind, and how to tell that it is complete.

Every file but `run.yaml` and `timing.csv` has the same bytes whenever the same seed is trained
again on the same kind of processor; hosts, dates and durations are kept out of the others.
"""

import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from xkd import files
from xkd.engine.training import Diverged, Training
from xkd.errors import Refused
from xkd.evaluate import Predictions, metrics, predict, save_network, save_predictions
from xkd.files import digest, read_json, write_json, write_text, write_yaml
from xkd.fingerprint import git_commit, versions
from xkd.networks import Network
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings
from xkd.records import cards

CARD = "run.yaml"
FIRST = ("epoch", "stage", "lr", "loss", "train_top1", "test_top1", "holdout_top1")


def fingerprint(
    settings: CellSettings,
    code: str,
    data: str,
    teacher: str | None,
    arithmetic: str,
    processes: int = 1,
) -> str:
    """`<code>-<settings>`: two runs with the same fingerprint and seed have the same weights.

    Args:
        code: digest of the source that trains; data: of the prepared data set.
        teacher: digest of the teacher's weights.
        arithmetic: of the engine's options.
        processes: among which every batch is shared; each has batch statistics of its own.
    """
    content = [settings.slice(), data, teacher, arithmetic]
    content += [processes] if processes > 1 else []
    text = json.dumps(content, sort_keys=True)
    return f"{code}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_run(training: Training, folder: Path, card: Mapping[str, Any]) -> None:
    """Weights, history, predictions and metrics; last of all the run card with their digests.

    Networks that were trained beside the student leave theirs too, under names of their own.

    Args:
        card: fingerprint and circumstances, first in the card.
    Raises: Diverged, before anything is written, if the student's answers are not numbers.
    """
    trained = {"": training.method.student}
    trained |= {f"-{name}": network for name, network in training.method.others.items()}
    with training.runtime.autocast():
        answers = {end: predict(n, training.cell_data.score) for end, n in trained.items()}
    if not all(np.isfinite(predictions.logits).all() for predictions in answers.values()):
        raise Diverged(f"seed {training.seed}: the last step left weights that are not numbers")
    write_text(folder / "history.csv", table(training.history))
    seconds = [{"epoch": i, "seconds": s} for i, s in enumerate(training.seconds, start=1)]
    write_text(folder / "timing.csv", table(seconds))
    names = ["history.csv"]
    for end, network in trained.items():
        more = {"split": training.cell_data.score.name} if end else curve(training)
        names += _write_answers(network, answers[end], folder, more, end)
    _seal(folder, {**card, "seconds": round(sum(training.seconds), 3)}, names)


def write_imported(
    network: Network, predictions: Predictions, folder: Path, card: Mapping[str, Any]
) -> None:
    """The same of weights that were trained elsewhere, so without a history."""
    _seal(folder, card, _write_answers(network, predictions, folder, {"split": "test"}))


def _write_answers(
    network: Network, predictions: Predictions, folder: Path, more: Mapping[str, Any], end: str = ""
) -> list[str]:
    """Weights, predictions and metrics, in files whose names end in `end`. Returns: these names."""
    names = [f"weights{end}.safetensors", f"predictions{end}.npz", f"metrics{end}.json"]
    weights, answers, scores = names
    save_network(network, folder / weights)
    save_predictions(predictions, folder / answers)
    write_json(folder / scores, {**metrics(predictions), **more})
    return names


def _seal(folder: Path, card: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write the run card, with the digests of the files that make the run complete."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    digests = {name: digest(folder / name) for name in files}
    content = {**card, "finished": finished, "files": digests}
    write_yaml(folder / CARD, content)


def curve(training: Training) -> dict[str, float | str]:
    """What the history says in one line; nothing is chosen by the best epoch (A4)."""
    split = training.cell_data.score.name
    scores = [record[f"{split}_top1"] for record in training.history]
    best = max(range(len(scores)), key=scores.__getitem__)
    return {
        "split": split,
        "best_top1": scores[best],
        "best_epoch": best + 1,
        "train_top1": training.history[-1]["train_top1"],
        "epochs": len(scores),
    }


def table(records: Sequence[Mapping[str, float | str]]) -> str:
    """Records as CSV; a column that some records lack stays empty there."""
    names = list(dict.fromkeys(name for record in records for name in record))
    names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in record.items()})
    return text.getvalue()


def circumstances() -> dict[str, Any]:
    """Machine, job and versions, for the run card."""
    return {
        "commit": git_commit(),
        "versions": versions(),
        "host": platform.node(),
        "processor": _processor(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def complete(folder: Path, expected: str) -> bool:
    """Whether the run is there, of this fingerprint, and every file as it was written."""
    try:
        card = cards.read(folder)
        return card["fingerprint"] == expected and all(
            digest(folder / name) == found for name, found in card["files"].items()
        )
    except (Refused, OSError, KeyError, TypeError, AttributeError):
        return False


def sweep(layout: Layout, cell: Cell) -> None:
    """Remove halves of files that killed jobs left in a cell; called by the holder of its lock."""
    folder = layout.cell(cell)
    files.sweep(folder, "cell.json")
    for place in (layout.resume(cell.run(0)).parent, *folder.glob("seed*")):
        files.sweep(place)


def write_manifest(settings: CellSettings, layout: Layout, parameters: int) -> None:
    """`cell.json`: every seed with metrics and digests; the same bytes while nothing changes."""
    runs = {}
    for seed in settings.seeds:
        folder = layout.run(Run(settings.cell, seed))
        card = cards.read(folder)
        runs[str(seed)] = {
            "fingerprint": card["fingerprint"],
            "metrics": read_json(folder / "metrics.json"),
            "digests": card["files"],
        }
    content = settings.slice()
    write_json(
        layout.manifest(settings.cell),
        {
            "cell": str(settings.cell),
            "dataset": settings.cell.dataset,
            "network": settings.cell.network,
            "method": settings.cell.method,
            "teacher": settings.cell.teacher,
            "recipe": content["recipe"],
            "options": content["method"]["options"],
            "parameters": parameters,
            "runs": runs,
        },
    )
