"""Every place of a finished project where a number stands that stands elsewhere, too.

    python tests/support/one_number.py results/demo

prints what disagrees. A fact is, for example, the accuracy of a run; its places are the run's
metrics, its cell's manifest, the end of its history, its predictions, the page, an analysis.
"""

import base64
import json
import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EQUAL = 1e-9
ROUNDED = 6e-5  # to four digits, in a history or on the page
Fact = tuple[Any, ...]
Said = tuple[Fact, float, float, str]  # fact, value, how far it is rounded, place


def facts(root: Path) -> dict[Fact, list[tuple[float, float, str]]]:
    """Every fact -> all values of it, with how far each may be rounded, and where it stands."""
    found = defaultdict(list)
    for walk in (runs, page, responses, tables, figures, claims):
        for fact, value, rounding, place in walk(root):
            if value == value:  # no NaN: nothing is said there
                found[fact].append((value, rounding, place))
    return found


def disagreements(root: Path) -> list[str]:
    """A line for every two places that say otherwise of one fact."""
    told = []
    for fact, said in facts(root).items():
        exact = min(said, key=lambda one: one[1])
        for value, rounding, place in said:
            if abs(value - exact[0]) > rounding + exact[1]:
                told.append(f"{fact}: {exact[0]} in {exact[2]}, {value} in {place}")
    return [*told, *texts(root)]


def runs(root: Path) -> Iterator[Said]:
    """Metrics, manifest, history and predictions of every run."""
    for manifest in (root / "runs").rglob("cell.json"):
        cell = str(manifest.parent.relative_to(root / "runs"))
        scores = []
        for seed, run in json.loads(manifest.read_text())["runs"].items():
            folder = manifest.parent / f"seed{seed}"
            metrics = json.loads((folder / "metrics.json").read_text())
            for name in ("top1", "best_top1", "ece"):
                if name in metrics:
                    fact = (name, f"{cell}/seed{seed}")
                    yield fact, metrics[name], EQUAL, str(folder / "metrics.json")
                    yield fact, run["metrics"][name], EQUAL, str(manifest)
            scores.append(run["metrics"]["top1"])
            if metrics["split"] != "test":
                continue
            with np.load(folder / "predictions.npz") as answers:
                right = float((answers["labels"] == answers["predicted"]).mean())
            yield ("top1", f"{cell}/seed{seed}"), right, EQUAL, str(folder / "predictions.npz")
            if (folder / "history.csv").is_file():
                curve = pd.read_csv(folder / "history.csv").test_top1
                place = str(folder / "history.csv")
                yield ("top1", f"{cell}/seed{seed}"), curve.iloc[-1], ROUNDED, place
                yield ("best_top1", f"{cell}/seed{seed}"), curve.max(), ROUNDED, place
        yield ("mean", cell, len(scores)), float(np.mean(scores)), EQUAL, str(manifest)


def page(root: Path) -> Iterator[Said]:
    """What the result page carries for its scripts."""
    text = (root / "index.html").read_text(encoding="utf-8")
    packed = re.search(r'id="data">([^<]*)<', text)[1]
    content = json.loads(zlib.decompress(base64.b64decode(packed)))
    place = str(root / "index.html")
    for cell, known in content["cells"].items():
        for run in known["seeds"]:
            for name in ("top1", "best_top1", "ece"):
                if name in run["metrics"]:
                    yield (name, f"{cell}/seed{run['seed']}"), run["metrics"][name], EQUAL, place
    for item in content["items"]:
        for row in item["numbers"]["rows"]:
            for one in filter(None, row["cells"]):
                if one["n"]:
                    yield ("mean", one["cell"], one["n"]), one["last"]["mean"] / 100, EQUAL, place
        for line in item["claims"]:
            if line["pair"] and line["difference"] is not None:
                fact = ("difference", *line["pair"], line["unit"], line["n"])
                yield fact, line["difference"], EQUAL, f"{place}, {item['name']}"


def responses(root: Path) -> Iterator[Said]:
    """Teachers on plain images."""
    for file in (root / "analysis/responses").rglob("responses.json"):
        content = json.loads(file.read_text())
        plain = content["reinforcements"]["gradient-0"]["test"]
        for name in ("top1", "ece"):
            yield (name, content["teacher"]), plain[name], EQUAL, str(file)


def tables(root: Path) -> Iterator[Said]:
    """Means over seeds at the last epoch."""
    for file in (root / "tables").glob("*.csv"):
        frame = pd.read_csv(file)
        if not {"section", "metric", "mean"} <= set(frame):
            continue
        ours = frame[frame.section.str.match(r"(Teachers, t|T)est images, last epoch", na=False)]
        for row in ours[ours["mean"].notna()].itertuples():
            mean = {"top1": row.mean, "error": 1 - row.mean}.get(row.metric)
            if mean is not None and (cell := _cell(root, row)):
                yield ("mean", cell, int(row.n)), mean, EQUAL, str(file)


def figures(root: Path) -> Iterator[Said]:
    """Means over seeds, where a figure shows accuracies by method."""
    for file in (root / "figures").glob("*.csv"):
        frame = pd.read_csv(file)
        if {"dataset", "network", "method", "n", "mean"} <= set(frame):
            for row in frame.itertuples():
                if cell := _cell(root, row):
                    yield ("mean", cell, int(row.n)), row.mean, EQUAL, str(file)


def claims(root: Path) -> Iterator[Said]:
    """Differences of two cells, which several items may claim something of."""
    for file in root.glob("*/*_claims.csv"):
        for row in pd.read_csv(file).itertuples():
            pair = row.cells.split() if isinstance(row.cells, str) else []
            if len(pair) == 2:
                yield ("difference", *pair, row.unit, row.n), row.difference, EQUAL, str(file)


def texts(root: Path) -> Iterator[str]:
    """Means of a table's CSV that its printed forms do not show."""
    for file in (root / "tables").glob("*.csv"):
        frame = pd.read_csv(file)
        if not {"section", "metric", "mean"} <= set(frame):
            continue
        ours = frame[frame.metric.isin(["top1", "error"]) & frame["mean"].notna()]
        for suffix in (".md", ".html", ".tex"):
            text = file.with_suffix(suffix).read_text(encoding="utf-8")
            for mean in ours["mean"]:
                if f"{100 * mean:.2f}" not in text:
                    yield f"{file}: {100 * mean:.2f} is not in its {suffix}"


def _cell(root: Path, row: Any) -> str:
    """The cell of a row; none where the row does not say which of several it is."""
    folder = root / "runs" / str(row.dataset) / str(row.network) / str(row.method)
    taught = sorted(path.parent for path in folder.glob("from-*/cell.json"))
    teacher = getattr(row, "teacher", None)
    if isinstance(teacher, str):
        taught = [one for one in taught if one.name.startswith(f"from-{teacher}")]
    if (folder / "cell.json").is_file():
        return str(folder.relative_to(root / "runs"))
    return str(taught[0].relative_to(root / "runs")) if len(taught) == 1 else ""


if __name__ == "__main__":
    for line in disagreements(Path(sys.argv[1])):
        print(line)
    several = [said for said in facts(Path(sys.argv[1])).values() if len(said) > 1]
    print(f"{len(several)} numbers stand in {sum(map(len, several))} places")
