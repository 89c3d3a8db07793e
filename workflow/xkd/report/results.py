"""Manifests of finished work as data frames: one row per run, or per teacher and reinforcement."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from xkd.errors import Refused
from xkd.files import read_json, reading
from xkd.plan.runs import Cell, Run
from xkd.readers import read_csv
from xkd.records import cards

CELL = ["dataset", "network", "method", "teacher"]


def paths(files: str | Path | Iterable[str | Path] | None) -> list[Path]:
    """A named Snakemake input, which is one string where the rule lists one file, as a list."""
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]


def read_cells(
    files: str | Path | Iterable[str | Path], item: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """One row per run: identity, parameters, its metrics (fractions in [0, 1]) and fingerprint.

    Column `precision` is the number format that it was trained in, as its card says; None where no
    card says so.

    Args:
        files: `cell.json` of each cell.
        item: with `runs`, pairs of a cell and its seeds: other seeds that a cell may hold are left
            out; cells that are not listed, such as teachers, come whole. With `settings`, cell ->
            what its manifest must say (`cards.expectation`). With `differs`, column `differs` says
            whether the run's cell is among them.
    Raises: Refused when a manifest is missing, damaged, or lacks a field; when a cell was trained
        with other settings, or files behind its numbers are not those that training left.
    """
    seeds_of = {cell: set(seeds) for cell, seeds in (item or {}).get("runs", ())}
    asked: dict[str, Any] = (item or {}).get("settings", {})
    differing = (item or {}).get("differs", {})
    rows = []
    for file in paths(files):
        content = read_json(file)
        with reading(file):
            identity = {name: content.get(name) for name in (*CELL, "parameters")}
            runs: dict[str, Any] = content["runs"]
            name = str(Cell(*(content.get(name) for name in CELL)))
            wanted = seeds_of.get(name)
            cards.refuse_difference(content, asked.get(name, {}), str(file))
            cards.verify_runs(file, content, wanted)
            for seed, run in sorted(runs.items(), key=lambda one: int(one[0])):
                if wanted is None or int(seed) in wanted:
                    kept = {"seed": int(seed), "fingerprint": run["fingerprint"]}
                    kept["differs"] = name in differing
                    kept["precision"] = _precision(file.parent / f"seed{seed}")
                    rows.append({**identity, **kept, **run["metrics"]})
    empty = pd.DataFrame(
        columns=[*CELL, "parameters", "seed", "fingerprint", "differs", "precision"]
    )
    frame = pd.DataFrame(rows) if rows else empty
    # None and NaN both mean "no teacher"; one of them only, whatever pandas makes of a column
    return frame.assign(teacher=frame.teacher.astype(object).where(frame.teacher.notna(), None))


def read_responses(
    files: str | Path | Iterable[str | Path], item: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """One row per teacher, reinforcement and split.

    Columns dataset, network, method, teacher (None), seed, reinforcement (key), kind, gamma, split,
    and its metrics; `reliability` holds the dict of `analysis.calibration.reliability`.

    Args:
        files: `responses.json` of each teacher.
        item: with `differs`; see `read_cells`.
    """
    differing = (item or {}).get("differs", {})
    rows = []
    for file in paths(files):
        content = read_json(file)
        with reading(file):
            run = Run.parse(content["teacher"])
            who = {"dataset": run.cell.dataset, "network": run.cell.network, "seed": run.seed}
            who |= {"method": run.cell.method, "teacher": None}
            who["differs"] = str(run.cell) in differing
            who["classes"] = len(content.get("class_names", ())) or None
            for key, answer in content["reinforcements"].items():
                what = {"reinforcement": key, "kind": answer["kind"], "gamma": answer["gamma"]}
                for split in ("test", "train"):
                    if split in answer:
                        rows.append({**who, **what, "split": split, **answer[split]})
    return pd.DataFrame(rows)


def read_clusters(files: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Rows of `clusters.csv`; several files are joined.

    Raises: Refused when two files describe the same point, which averaging would hide.
    """
    key = ["kind", "gamma", "split", "space", "metric", "labels", "seed"]
    needed = [*key, "silhouette", "top1"]
    frame = pd.concat([read_csv(file, needed) for file in paths(files)], ignore_index=True)
    if frame.duplicated(key).any():
        raise Refused(
            "two clusters.csv describe the same reinforcement, split and seed, so they belong to "
            "different teachers; give this figure the file of one teacher"
        )
    return frame


def of_slug(slug: str) -> tuple[str, str]:
    """Network and method of a teacher, the inverse of `Cell.slug`."""
    network, _, method = slug.partition("-")
    return network, method or "ce"


def with_plain_teachers(runs: pd.DataFrame) -> pd.DataFrame:
    """Teachers by their network alone, as papers call them, where one method trained them all.

    That is, all of a data set: there may be released weights for one, and training for another.
    """
    taught = zip(runs.dataset, runs.teacher, strict=True)
    ways = {(dataset, of_slug(slug)[1]) for dataset, slug in taught if slug is not None}
    if len(ways) > len({dataset for dataset, _ in ways}):
        return runs
    plain = [None if slug is None else of_slug(slug)[0] for slug in runs.teacher]
    return runs.assign(teacher=pd.Series(plain, index=runs.index, dtype=object))


def search_notes(
    files: str | Path | Iterable[str | Path] | None, labels: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """What each search tried, scored and chose, from `search.json`; without any test image (A3)."""
    notes = []
    for file in paths(files):
        found = read_json(file)
        with reading(file):
            cell = Cell.parse(found["cell"])
            method = labels["methods"].get(cell.method, cell.method)
            network = labels["networks"].get(cell.network, cell.network)
            values = ", ".join(
                f"{score['value']:g} ({100 * score['top1']:.2f} %)" for score in found["scores"]
            )
            notes.append(
                f"Searched on held-out training images: {network}, {method}, {found['option']} = "
                f"{found['winner']:g}; accuracies there: {values}."
            )
    return notes


def teachers_of(runs: pd.DataFrame, everyone: pd.DataFrame) -> pd.DataFrame:
    """The runs of `everyone` that teach a run of `runs`."""
    slugs = {(row.dataset, row.teacher) for row in runs.itertuples() if row.teacher is not None}
    teaches = [
        (row.dataset, Cell(row.dataset, row.network, row.method, row.teacher).slug) in slugs
        for row in everyone.itertuples()
    ]
    return everyone[pd.Series(teaches, index=everyone.index, dtype=bool)]


def code_notes(runs: pd.DataFrame) -> list[str]:
    """Which cells mix seeds that different versions of the code trained, in sentences.

    Fingerprints read `<code digest>-<settings digest>`.
    """
    mixed: dict[str, list[str]] = {}
    groups = runs.groupby(CELL, dropna=False, sort=False) if "fingerprint" in runs else ()
    for key, cell in groups:
        codes = cell.groupby(cell.fingerprint.str.partition("-")[0], sort=False).seed.apply(list)
        if len(codes) > 1:
            versions = "; ".join(
                f"{code[:8]}: seed {', '.join(map(str, seeds))}" for code, seeds in codes.items()
            )
            name = str(Cell(*(None if pd.isna(part) else part for part in key)))
            mixed.setdefault(versions, []).append(name)
    return [
        f"Seeds of {', '.join(names)} come from different code versions ({versions})."
        for versions, names in mixed.items()
    ]


def precision_notes(runs: pd.DataFrame) -> list[str]:
    """Number formats of training other than float32, and means over several of them, in sentences.

    Args:
        runs: with the columns of `read_cells`; without `precision` there is nothing to tell.
    """
    known = runs[runs.precision.notna()] if "precision" in runs else runs[:0]
    formats: dict[str, list[str]] = {}
    notes = []
    for key, cell in known.groupby(CELL, dropna=False, sort=False) if len(known) else ():
        name = str(Cell(*(None if pd.isna(part) else part for part in key)))
        seeds = cell.groupby("precision", sort=False).seed.apply(list)
        for precision in seeds.index:
            formats.setdefault(precision, []).append(name)
        if len(seeds) > 1:
            parts = (f"{kind}: seed {', '.join(map(str, own))}" for kind, own in seeds.items())
            notes.append(f"The mean of {name} mixes number formats ({'; '.join(parts)}).")
    if len(formats) == 1:
        return [f"All trained in {kind}." for kind in formats if kind != "float32"]
    return notes + [
        f"Trained in {kind}, unlike the others: {', '.join(names)}."
        for kind, names in formats.items()
        if kind != "float32"
    ]


def _precision(folder: Path) -> str | None:
    """Number format that a run was trained in."""
    if not (folder / "run.yaml").exists():
        return None
    return cards.read(folder).get("engine", {}).get("precision")
