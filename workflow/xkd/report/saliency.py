"""Explanations in tables: one row each, data sets in columns, a block per measure.

Frames have one row per run and explanation, with columns dataset, network, method, teacher, seed,
explanation, and the measures of `xkd.analyses.saliency` and `xkd.analyses.speed`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xkd.errors import Refused
from xkd.files import read_json
from xkd.plan.declarations import declaration, known_modules
from xkd.plan.runs import Run
from xkd.report.layout import MISSING, Block, Cell, Line, Row, label, seeds, signed
from xkd.report.looks import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    Look,
)
from xkd.report.results import paths

PLACE = ["dataset", "network", "method", "teacher"]
#: Look of explanations in figures, in the order of legends.
LOOKS = {
    "explanation_net": Look(VERMILLION, "o"),
    "levels_mean": Look(ORANGE, "s", "--"),
    "last_level": Look(PURPLE, "D", "-."),
    "rise": Look(BLUE, "^"),
    "lime": Look(SKY, "v", "--"),
    "gradcam": Look(GREEN, "P"),
    "grad_input": Look(BLACK, "X", "-."),
    "random": Look(GREY, "x", ":"),
    "levels_product": Look(YELLOW, "h"),
    "grad": Look(BLACK, "<"),
    "guided_bp": Look(ORANGE, ">"),
    "integrated_gradients": Look(GREEN, "d"),
}


class Measure(NamedTuple):
    """How a column is shown. aim: +1 or -1, 0 where neither end is; printed: as print calls it."""

    title: str
    factor: float
    decimals: int
    aim: int
    printed: str = ""


MEASURES = {
    "insertion": Measure(
        "Insertion, area under the curve (higher is better)", 1, 4, 1, "insertion_auc"
    ),
    "deletion": Measure(
        "Deletion, area under the curve (lower is better)", 1, 4, -1, "deletion_auc"
    ),
    "intensity": Measure("Mean pixel, maps scaled to [0, 1]", 1, 3, 0, "mean_pixel_intensity"),
    "raw_intensity": Measure("Mean pixel of the map as it is", 1, 3, 0),
    "pointing": Measure("Pointing game (%)", 100, 1, 1),
    "average_drop": Measure("Average drop (%, lower is better)", 100, 1, -1),
    "average_increase": Measure("Average increase (%)", 100, 1, 1),
    "ratio": Measure("Speed, ratio to the target's own inference", 1, 4, 1, "speed_ratio"),
    "fps": Measure("Frames a second", 1, 1, 0, "frames_per_second"),
}
#: What the analysis of speed times besides explanations.
TIMED = {
    "inference": "Normal inference",
    "student": "Student alone",
    "explanation_net_of_target": "Explanation network, target's class",
}


def read(files: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Rows of `saliency.csv` or `speed.csv` of all runs, with the run that each is about.

    Raises: Refused when a file or the card beside it is missing or damaged.
    """
    frames = []
    for path, run in _with_runs(files):
        try:
            frames.append(pd.read_csv(path).assign(**_identity(run)))
        except (OSError, ValueError) as problem:
            raise Refused(f"{path} cannot be read ({problem}); make the analysis again") from None
    return pd.concat(frames, ignore_index=True)


def read_agreement(files: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """One row per run: what `agreement.json` says; nested entries as `counts_train` and so on."""
    rows = []
    for path, run in _with_runs(files):
        flat: dict[str, Any] = {}
        for key, value in read_json(path).items():
            nested = value.items() if isinstance(value, Mapping) else None
            flat |= {f"{key}_{inner}": v for inner, v in nested} if nested else {key: value}
        rows.append({**_identity(run), **flat})
    return pd.DataFrame(rows)


def read_images(
    files: str | Path | Iterable[str | Path],
) -> list[tuple[Run, dict[str, np.ndarray]]]:
    """Runs with the arrays of their `saliency.npz`."""
    found = []
    for path, run in _with_runs(files):
        with np.load(path) as archive:
            found.append((run, {name: archive[name] for name in archive.files}))
    return found


def _with_runs(files: str | Path | Iterable[str | Path]) -> list[tuple[Path, Run]]:
    """Outputs of an analysis, each with its run, which the card beside it names."""
    return [
        (path, Run.parse(read_json(path.parent / "analysis.json")["run"])) for path in paths(files)
    ]


def _identity(run: Run) -> dict[str, Any]:
    cell = run.cell
    return {**{name: getattr(cell, name) for name in PLACE}, "seed": run.seed}


def name_of(explanation: str) -> str:
    """As tables and figures call an explanation."""
    if explanation in TIMED:
        return TIMED[explanation]
    if explanation not in known_modules("explain"):
        return explanation
    return declaration("explain", explanation)["LABEL"] or explanation


def kind_of(explanation: str) -> str:
    """Where an explanation comes from: the surrogate, the target, or neither (a control)."""
    if explanation not in known_modules("explain"):
        return ""
    declared = declaration("explain", explanation)
    if declared["CONTROL"]:
        return "control"
    return "surrogate" if "surrogate" in declared["SUBJECT"] else "target"


def summary(frame: pd.DataFrame, measure: str, printed: pd.DataFrame | None = None) -> pd.DataFrame:
    """One line per data set (or what tells runs apart) and explanation.

    Args:
        printed: as `published.load` gives it, its methods called as `name_of` calls explanations.
    Returns: columns PLACE, explanation, measure, n, mean, std, published.
    """
    groups = frame.dropna(subset=[measure]).groupby([*PLACE, "explanation"], sort=False)
    found = groups[measure].agg(n="count", mean="mean", std="std").reset_index()
    known: dict[tuple[str, str], float] = {}
    if printed is not None and MEASURES[measure].printed:
        rows = printed[printed.metric == MEASURES[measure].printed]
        known = {(row.dataset, row.method): row.value for row in rows.itertuples()}
    names = found.explanation.map(name_of)
    theirs = [
        known.get((dataset, name), known.get(("", name), np.nan))
        for dataset, name in zip(found.dataset, names, strict=True)
    ]
    return found.assign(measure=measure, published=theirs)


def block(lines: pd.DataFrame, labels: Mapping[str, Any]) -> Block:
    """Explanations in rows, runs in columns: ours, published, difference.

    Args:
        lines: of one measure, from `summary`.
    """
    measure = MEASURES[lines.measure.iloc[0]]
    places = list(dict.fromkeys(lines[PLACE].itertuples(index=False, name=None)))
    several = len({place[0] for place in places}) < len(places)
    columns = [_column(place, labels, several) for place in places]
    best = {place: _best(lines, place, measure.aim) for place in places}
    rows = []
    for explanation in dict.fromkeys(lines.explanation):
        own = lines[lines.explanation == explanation]
        by_place = {tuple(r[name] for name in PLACE): r for r in own.to_dict("records")}
        records = [by_place.get(place) for place in places]
        first = [best[place] == explanation for place in places]
        heads = (name_of(explanation), kind_of(explanation))
        rows.append(Row(heads, tuple(_lines(records, first, measure))))
    return Block(measure.title, ("Explanation", "From"), tuple(columns), tuple(rows))


def look(explanation: str) -> Look:
    """Colour, marker and dash of an explanation; grey for those that no legend names."""
    return LOOKS.get(explanation, Look(GREY, "." if kind_of(explanation) == "control" else "d"))


def _column(place: Sequence[str], labels: Mapping[str, Any], several: bool) -> str:
    dataset, network, method, _ = place
    words = [label(labels, "dataset", dataset)]
    if several:
        words += [label(labels, "network", network), label(labels, "method", method)]
    return ", ".join(words)


def _best(lines: pd.DataFrame, place: Sequence[str], aim: int) -> str:
    """The explanation that wins, controls aside."""
    of_place = lines[(lines[PLACE] == list(place)).all(axis=1)]
    of_place = of_place[of_place.explanation.map(kind_of).isin(["surrogate", "target"])]
    if not aim or not len(of_place):
        return ""
    return str(of_place.explanation[(aim * of_place["mean"]).idxmax()])


def _lines(
    records: Sequence[Mapping[str, Any] | None], best: Sequence[bool], measure: Measure
) -> Iterable[Line]:
    counts = [record["n"] for record in records if record]
    ours = [
        Cell() if record is None else Cell(_mean(record, measure) + (" *" if first else ""))
        for record, first in zip(records, best, strict=True)
    ]
    yield Line(f"ours ({seeds(counts)})" if counts else "ours", tuple(ours))
    printed = [np.nan if record is None else record["published"] for record in records]
    if np.isnan(printed).all():
        return
    yield Line("published", tuple(Cell(number(value, measure)) for value in printed))
    yield Line(
        "difference",
        tuple(
            Cell()
            if record is None or np.isnan(value)
            else Cell(signed((record["mean"] - value) * measure.factor, measure.decimals))
            for record, value in zip(records, printed, strict=True)
        ),
    )


def _mean(record: Mapping[str, Any], measure: Measure) -> str:
    text = number(record["mean"], measure)
    return text if np.isnan(record["std"]) else f"{text} ± {number(record['std'], measure)}"


def number(value: float, measure: Measure) -> str:
    if np.isnan(value):
        return MISSING
    return f"{value * measure.factor:.{measure.decimals}f}"
