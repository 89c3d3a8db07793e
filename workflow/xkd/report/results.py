"""Manifests of finished work as data frames: one row per run, or per teacher and reinforcement."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from xkd.artifacts import read_json
from xkd.errors import Refused
from xkd.runs import Cell, Run

CELL = ["dataset", "network", "method", "teacher"]


def paths(files: str | Path | Iterable[str | Path] | None) -> list[Path]:
    """A named Snakemake input, which is one string where the rule lists one file, as a list."""
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]


def read_cells(files: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """One row per run: identity, parameters, its metrics (fractions in [0, 1]) and fingerprint.

    Args:
        files: `cell.json` of each cell.
    Raises: Refused when a manifest is missing, damaged, or lacks a field.
    """
    rows = []
    for file in paths(files):
        content = read_json(file)
        try:
            identity = {name: content.get(name) for name in (*CELL, "parameters")}
            runs: dict[str, Any] = content["runs"]
            for seed, run in sorted(runs.items(), key=lambda item: int(item[0])):
                kept = {"seed": int(seed), "fingerprint": run["fingerprint"]}
                rows.append({**identity, **kept, **run["metrics"]})
        except (KeyError, AttributeError, TypeError, ValueError) as problem:
            raise _unreadable(file, problem) from None
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*CELL, "seed", "fingerprint"])
    # None and NaN both mean "no teacher"; one of them only, whatever pandas makes of a column
    return frame.assign(teacher=frame.teacher.astype(object).where(frame.teacher.notna(), None))


def read_responses(files: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """One row per teacher, reinforcement and split.

    Columns dataset, network, method, teacher (None), seed, reinforcement (key), kind, gamma, split,
    and its metrics; `reliability` holds the dict of `analysis.calibration.reliability`.

    Args:
        files: `responses.json` of each teacher.
    """
    rows = []
    for file in paths(files):
        content = read_json(file)
        try:
            run = Run.parse(content["teacher"])
            who = {"dataset": run.cell.dataset, "network": run.cell.network, "seed": run.seed}
            who |= {"method": run.cell.method, "teacher": None}
            for key, answer in content["reinforcements"].items():
                what = {"reinforcement": key, "kind": answer["kind"], "gamma": answer["gamma"]}
                for split in ("test", "train"):
                    if split in answer:
                        rows.append({**who, **what, "split": split, **answer[split]})
        except (KeyError, AttributeError, TypeError) as problem:
            raise _unreadable(file, problem) from None
    return pd.DataFrame(rows)


def read_clusters(files: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Rows of `clusters.csv`; several files are joined.

    Raises: Refused when two files describe the same point, which averaging would hide.
    """
    frame = pd.concat([pd.read_csv(file) for file in paths(files)], ignore_index=True)
    key = ["kind", "gamma", "split", "space", "metric", "labels", "seed"]
    if frame.duplicated(key).any():
        raise Refused(
            "two clusters.csv describe the same reinforcement, split and seed, so they belong to "
            "different teachers; give this figure the file of one teacher"
        )
    return frame


def teachers_of(runs: pd.DataFrame, everyone: pd.DataFrame) -> pd.DataFrame:
    """The runs of `everyone` that teach a run of `runs`."""
    slugs = {(row.dataset, row.teacher) for row in runs.itertuples() if row.teacher is not None}
    teaches = [
        (row.dataset, Cell(row.dataset, row.network, row.method, row.teacher).slug) in slugs
        for row in everyone.itertuples()
    ]
    return everyone[pd.Series(teaches, index=everyone.index, dtype=bool)]


def code_notes(runs: pd.DataFrame) -> list[str]:
    """A sentence for every cell whose seeds were trained by different versions of the code.

    Fingerprints read `<code digest>-<settings digest>`.
    """
    notes = []
    if "fingerprint" not in runs:
        return notes
    for key, cell in runs.groupby(CELL, dropna=False, sort=False):
        codes = cell.groupby(cell.fingerprint.str.partition("-")[0], sort=False).seed.apply(list)
        if len(codes) > 1:
            versions = "; ".join(
                f"{code[:8]}: seed {', '.join(map(str, seeds))}" for code, seeds in codes.items()
            )
            cell_name = str(Cell(*(None if pd.isna(part) else part for part in key)))
            notes.append(f"Seeds of {cell_name} come from different code versions ({versions}).")
    return notes


def _unreadable(file: Path, problem: Exception) -> Refused:
    return Refused(
        f"{file} is not in the expected form ({type(problem).__name__}: {problem}); "
        "delete it and run the same command again"
    )
