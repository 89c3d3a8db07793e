"""Runs as the result page shows them: cards, metrics and histories, read from their folders.

A run is a folder with `run.yaml`, `metrics.json` and `history.csv`. Results of the pipeline lie in
`results/<scale>/runs/`; small files of complete runs, without weights, in `results/reference/`.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xkd.errors import Refused
from xkd.files import read_json, verify
from xkd.plan import comparability
from xkd.plan.runs import Cell
from xkd.plan.settings import CellSettings
from xkd.records import cards

#: Columns of a history, and the size of a step in which the page keeps them.
CURVES = {"loss": 1e-4, "train_top1": 1e-4, "test_top1": 1e-4}
SHOWN = ("seconds", "finished", "commit", "host", "fingerprint")


@dataclass(frozen=True)
class Source:
    """Where runs lie. reference: whether they are the committed files, not those of a pipeline."""

    root: Path
    reference: bool = False

    def folder(self, cell: Cell) -> Path:
        return self.root / str(cell) if self.reference else self.root / "runs" / str(cell)

    def claims(self, item: str) -> Path | None:
        """The committed comparisons of an item whose analyses are too large to commit."""
        found = sorted(self.root.glob(f"*/{item}_claims.csv")) if self.reference else []
        return found[0] if found else None

    def record(self, settings: CellSettings, seeds: Iterable[int]) -> dict[str, Any]:
        """What is known of a cell: its complete seeds, and how their settings differ from ours."""
        folder, wanted = self.folder(settings.cell), settings.slice()
        found = [self._run(folder / f"seed{seed}", seed, wanted) for seed in seeds]
        return {
            "cell": str(settings.cell),
            "folder": str(folder),
            "seeds": [run for run in found if run],
            "wanted": len(found),
        }

    def _read(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Card and metrics of a run. Raises Refused where they are not as they were written."""
        card = cards.read(folder)
        for name, expected in card["files"].items() if self.reference else ():
            if (folder / name).is_file():
                verify(folder / name, expected, folder / "run.yaml")
        return card, read_json(folder / "metrics.json")

    def _run(self, folder: Path, seed: int, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """A complete run; None for one that is not there. A damaged one is shown as such."""
        if not (folder / "run.yaml").is_file():
            return None
        try:
            card, metrics = self._read(folder)
            curves = _curves(folder / "history.csv")
            differs = _differs(card.get("settings", {}), wanted)
        except (Refused, OSError, KeyError, ValueError, TypeError) as problem:
            return {"seed": seed, "folder": str(folder), "damaged": " ".join(str(problem).split())}
        engine = card.get("engine") or {}
        return {
            "seed": seed,
            "folder": str(folder),
            "metrics": {k: v for k, v in metrics.items() if isinstance(v, int | float)},
            "curves": curves,
            "differs": differs,
            "device": engine.get("device", ""),
            "precision": engine.get("precision", ""),
            "versions": card.get("versions", {}),
            "settings": card.get("settings", {}),
            **{name: card.get(name) for name in SHOWN},
        }


def complete(record: Mapping[str, Any], seeds: Iterable[int]) -> list[Mapping[str, Any]]:
    """Runs of these seeds that are there and undamaged."""
    return [run for run in record["seeds"] if "metrics" in run and run["seed"] in seeds]


def _differs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[list[Any]]:
    """What a card says that the config does not; settings that the card does not know are new."""
    every = comparability.of_settings(found, wanted)
    return [list(one) for one in every if one.ours is not None]


def _curves(path: Path) -> dict[str, list[int]]:
    """Epochs of a history in whole steps of `CURVES`; the first value, then differences."""
    if not path.is_file():  # imported weights have none
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for name, step in CURVES.items():
        values = [round(float(row[name]) / step) for row in rows if row.get(name)]
        if values and len(values) == len(rows):
            pairs = zip(values, [0, *values], strict=False)
            found[name] = [value - before for value, before in pairs]
    return found


def frame(
    records: Mapping[str, Mapping[str, Any]], cells: Iterable[tuple[Cell, Any]]
) -> pd.DataFrame:
    """Runs of an item as `results.read_cells` gives them."""
    rows = []
    for cell, seeds in cells:
        identity = {"dataset": cell.dataset, "network": cell.network, "method": cell.method}
        identity["teacher"] = cell.teacher
        for run in complete(records[str(cell)], seeds):
            rows.append({**identity, "seed": run["seed"], **run["metrics"]})
    columns = ["dataset", "network", "method", "teacher", "seed", "top1", "best_top1"]
    made = pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
    return made.assign(teacher=made.teacher.astype(object).where(made.teacher.notna(), None))
