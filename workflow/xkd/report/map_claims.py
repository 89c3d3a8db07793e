"""Claims about explanations, judged image by image.

    {maps: [a, [b, c]], measure: insertion, better: higher, paired: image, says: ...}

compares every explanation with every one of the next place, as `best_first` does methods. The
entry says what is measured, which end is better, and what is paired: `image`, the same images under
both explanations, each image's values averaged over seeds first; or `seed`, for what a run has one
number of, such as its speed.

    d̄ with a bootstrap interval over images (percentiles of 9,999 resamples), and Wilcoxon's
    signed-rank test of d (Wilcoxon 1945); over seeds, Student's interval as for methods
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xkd.plan.runs import Cell
from xkd.report import effects, published, saliency, vocabulary

RESAMPLES, SEED = 9999, 0
SIGN = {"higher": 1, "lower": -1}


def judge(
    claim: Mapping[str, Any],
    item: Mapping[str, Any],
    printed: Path | None,
    inputs: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Lines of one claim, one per cell and comparison, with the columns of `claims`."""
    known = published.load(printed, item["labels"])
    by_cell = _values(claim, inputs)
    for better, than in comparisons(claim):
        for cell, values in by_cell.items():
            if better not in values or than not in values:
                continue
            yield _line(claim, item, cell, better, than, values[better], values[than], known)
        if not any({better, than} <= values.keys() for values in by_cell.values()):
            yield _unmeasured(better, than)


def comparisons(claim: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs (better, than): each with each of the next place."""
    places = [[place] if isinstance(place, str) else place for place in claim["maps"]]
    return [pair for upper, lower in pairwise(places) for pair in product(upper, lower)]


def interval(differences: NDArray) -> effects.Effect:
    """Mean of paired differences with its bootstrap interval and Wilcoxon's p.

    There is no interval for one pair, nor for pairs that all differ alike.
    """
    from scipy.stats import bootstrap, wilcoxon

    values = np.asarray(differences, float).round(12)
    n = len(values)
    if n == 0:
        return effects.Effect(0)
    mean = float(values.mean())
    if n == 1 or np.ptp(values) == 0:
        return effects.Effect(n, mean, spread=0.0 if n > 1 else nan)
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=500,
        confidence_level=effects.CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    p = float(wilcoxon(values).pvalue)
    return effects.Effect(
        n, mean, float(found.low), float(found.high), p, float(values.std(ddof=1))
    )


def _values(claim: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[Cell, dict[str, NDArray]]:
    """By cell and explanation: per image, averaged over seeds; or per seed."""
    measure = claim["measure"]
    found: dict[Cell, dict[str, list[Any]]] = {}
    if claim["paired"] == "image":
        for run, arrays in saliency.read_images(inputs.get("saliency_images", ())):
            of_cell = found.setdefault(run.cell, {})
            for name in arrays["explanations"].tolist():
                if f"{name}/{measure}" in arrays:
                    of_cell.setdefault(name, []).append(arrays[f"{name}/{measure}"].astype(float))
        return {
            cell: {name: np.mean(seeds, axis=0) for name, seeds in of_cell.items()}
            for cell, of_cell in found.items()
        }
    for key in ("saliency", "speed"):
        files = inputs.get(key, ())
        frame = saliency.read(files) if files else None
        if frame is None or measure not in frame:
            continue
        for row in frame.sort_values("seed").to_dict("records"):
            cell = Cell(*(row[name] for name in saliency.PLACE))
            of_cell = found.setdefault(cell, {})
            of_cell.setdefault(row["explanation"], []).append(row[measure])
    return {
        cell: {name: np.array(seeds, float) for name, seeds in of_cell.items()}
        for cell, of_cell in found.items()
    }


def _line(
    claim: Mapping[str, Any],
    item: Mapping[str, Any],
    cell: Cell,
    better: str,
    than: str,
    first: NDArray,
    second: NDArray,
    known: Any,
) -> dict[str, Any]:
    sign = SIGN[claim["better"]]
    differences = sign * (first - second)
    by_image = claim["paired"] == "image"
    effect = interval(differences) if by_image else effects.paired(differences)
    paper = sign * (_printed(known, cell, better, claim) - _printed(known, cell, than, claim))
    comparable = str(cell) not in item.get("differs", ())
    shown = paper if comparable else nan
    bounds = effect.mean, effect.low, effect.high
    return {
        "kind": "maps",
        "better": saliency.name_of(better),
        "than": saliency.name_of(than),
        "dataset": cell.dataset,
        "teacher": "",
        "network": cell.network,
        "rows": 1,
        "n": effect.n,
        "paired": True,
        "counts": "images" if by_image else "seeds",
        "unit": claim["measure"],
        "difference": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "p": effect.p,
        "needed": nan,
        "published": shown,
        "published_low": nan,
        "published_high": nan,
        "found": vocabulary.found(*bounds),
        "verdict": vocabulary.verdict(*bounds, shown, comparable),
        "cells": f"maps {claim['measure']} {better} {than} {cell}",
    }


def _printed(known: Any, cell: Cell, explanation: str, claim: Mapping[str, Any]) -> float:
    metric = saliency.MEASURES[claim["measure"]].printed
    rows = known[(known.metric == metric) & (known.method == saliency.name_of(explanation))]
    rows = rows[rows.dataset.isin([cell.dataset, ""])]
    return float(rows.value.iloc[0]) if len(rows) and metric else nan


def _unmeasured(better: str, than: str) -> dict[str, Any]:
    numbers = ("difference", "low", "high", "p", "needed", "published")
    return {
        "kind": "maps",
        "better": saliency.name_of(better),
        "than": saliency.name_of(than),
        **dict.fromkeys(("dataset", "teacher", "network"), ""),
        "rows": 0,
        "n": 0,
        "paired": True,
        "counts": "images",
        "unit": "",
        **dict.fromkeys((*numbers, "published_low", "published_high"), nan),
        "found": "not measured",
        "verdict": "not measured",
        "cells": f"maps {better} {than}",
    }
