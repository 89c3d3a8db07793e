"""Claims that are no orders of methods, in the words that a config has for them.

    {most_similar: named, ...}            pairs of classes that the config names are more alike than
                                          the others (Mann and Whitney 1947, exact)
    {rises: top1, from: a, to: b, ...}    a score of teachers on test images is higher under
                                          reinforcement b than under a
    {grows: silhouette, with: gamma, ...} a column grows with another (Kendall's τ, exact)
    {within: top1, ...}                   our means lie within tolerance of the printed numbers
    {maps: [a, b], measure: ..., ...}     explanation a is better than b; see `map_claims`

Lines have the columns of `claims`; `n` counts what `counts` says, differences are in `unit`.
"""

from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xkd.plan.runs import Cell
from xkd.report import arrays, map_claims, published, results, vocabulary
from xkd.report.compare import METRICS, compare

PLACE = ["dataset", "teacher", "network"]
SIGNIFICANT = 0.05
ORIGINAL = "gradient-0"
_EMPTY = dict.fromkeys(("low", "high", "p", "needed", "published_low", "published_high"), nan)


def judge(
    claim: Mapping[str, Any],
    item: Mapping[str, Any],
    runs: pd.DataFrame,
    printed: Path | None,
    inputs: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Lines of one claim; see `claims.judge` for the arguments."""
    known = published.load(printed, item["labels"], prefer=item.get("methods", ()))
    if "maps" in claim:
        yield from map_claims.judge(claim, item, printed, inputs)
    elif "most_similar" in claim:
        yield from _most_similar(item, inputs)
    elif "rises" in claim:
        yield from _rises(claim, item, known, inputs)
    elif "grows" in claim:
        yield from _grows(claim, item, inputs)
    else:
        yield from _within(claim, item, runs, known)


def by_test(difference: float, p: float) -> str:
    """The word of a difference that has a test in place of an interval."""
    if np.isnan(difference):
        return "not measured"
    if not p < SIGNIFICANT:
        return "undecided"
    return "holds" if difference > 0 else "contradicted"


def _line(item: Mapping[str, Any], cells: str, **told: Any) -> dict[str, Any]:
    """Defaults for what a kind of claim does not say; cells that differ settle nothing."""
    line = {
        **dict.fromkeys(PLACE, ""),
        "rows": 1,
        "paired": True,
        "published": nan,
        **_EMPTY,
        **told,
    }
    line["cells"] = f"{line['kind']} {line['better']} {line['than']} {cells}"
    line.setdefault("verdict", line["found"])
    if set(cells.split()) & set(item.get("differs", ())) and line["found"] != "not measured":
        line |= {"verdict": "not comparable", "published": nan}
    return line


def _most_similar(item: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Named pairs against all others, one line per network."""
    every = item.get("analysed") == "every"
    cells = [cell for cell, seeds in item["runs"] for _ in (seeds if every else seeds[:1])]
    panels = arrays.similarities(inputs.get("similarity", ()), item["labels"])
    for cell, panel in zip(cells, panels, strict=True):
        if not panel.pairs:
            continue
        difference, p, found = pairs_apart(panel)
        of = Cell.parse(cell)
        yield _line(
            item,
            cell,
            kind="most_similar",
            better=", ".join("–".join(pair) for pair in panel.pairs),
            than="all other pairs",
            dataset=of.dataset,
            network=of.network,
            n=len(panel.pairs),
            counts="pairs",
            unit="cosine",
            difference=difference,
            p=p,
            found=found,
        )


def pairs_apart(panel: arrays.Similarity) -> tuple[float, float, str]:
    """Difference of the mean similarities of named and of other pairs; exact p; word."""
    from scipy.stats import mannwhitneyu

    named, others = arrays.split_pairs(panel)
    test = mannwhitneyu(named, others, alternative="two-sided", method="exact")
    above = test.statistic - len(named) * len(others) / 2
    return float(np.mean(named) - np.mean(others)), float(test.pvalue), by_test(above, test.pvalue)


def _rises(
    claim: Mapping[str, Any],
    item: Mapping[str, Any],
    known: pd.DataFrame,
    inputs: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """One line per teacher, then their mean.

    The interval is one over test images. The two scores are of the same images, but which of them
    changed is not known here; the variance of two independent samples is an upper bound for scores
    that go together:  (a₁(1 − a₁) + a₂(1 − a₂)) / N.
    """
    metric, before, after = claim["rises"], claim.get("from", ORIGINAL), claim["to"]
    answers = results.read_responses(inputs.get("responses", ()))
    plain = "x" if before == ORIGINAL else before
    shown = METRICS[metric].label
    said = {"kind": "rises", "better": f"{shown} on x* ({after})", "than": f"on {plain}"}
    said |= {"counts": "images", "unit": "points"}
    answers = answers[(answers.split == "test")] if len(answers) else answers
    found_here: list[tuple[float, float, float, str]] = []
    for (dataset, network), found in answers.groupby(["dataset", "network"], sort=False):
        scores = found.set_index("reinforcement")
        keys = [_key(scores, before), _key(scores, after)]
        if None in keys:
            continue
        first, second = scores[metric][keys]
        images = sum(scores.reliability[keys[0]]["count"])
        error = ((first * (1 - first) + second * (1 - second)) / images) ** 0.5
        cell = str(Cell(dataset, network, found.method.iloc[0]))
        print_ = _printed_rise(known, dataset, network, claim.get("printed", ()), metric)
        effect = second - first
        found_here.append((effect, error, print_, cell))
        place = {"dataset": dataset, "network": network}
        yield _rise(item, cell, effect, error, print_, said | place | {"n": images})
    if len(found_here) == 1:
        return
    effects, errors, papers, cells = (
        zip(*found_here, strict=True) if found_here else ([], [], [], [])
    )
    mean = float(np.mean(effects)) if effects else nan
    error = float(np.sqrt(np.sum(np.square(errors)))) / max(len(errors), 1)
    paper = float(np.mean(papers)) if papers else nan
    said |= {"n": 0, "rows": len(effects)}
    yield _rise(item, " ".join(cells), mean, error, paper, said)


def _rise(
    item: Mapping[str, Any], cells: str, difference: float, error: float, paper: float, said: dict
) -> dict[str, Any]:
    from scipy.stats import norm

    half = norm.ppf(0.975) * error
    low, high = (difference - half, difference + half) if error > 0 else (nan, nan)
    words = {
        "found": vocabulary.found(difference, low, high),
        "verdict": vocabulary.verdict(difference, low, high, paper),
    }
    p = 2 * norm.sf(abs(difference) / error) if error > 0 else nan
    numbers = {"difference": difference, "low": low, "high": high, "p": float(p)}
    return _line(item, cells, **said, **numbers, published=paper, **words)


def _key(scores: pd.DataFrame, name: str) -> str | None:
    """A reinforcement by its name, or the first of a kind."""
    if name in scores.index:
        return name
    return next((key for key in scores.index if key.startswith(f"{name}-")), None)


def _printed_rise(
    known: pd.DataFrame, dataset: str, network: str, columns: tuple[str, ...], metric: str
) -> float:
    """The difference of two printed columns, (before, after)."""
    row = known[(known.dataset == dataset) & (known.network == network) & (known.metric == metric)]
    values = [row[row.method == name].value for name in columns]
    if len(values) != 2 or any(not len(value) for value in values):
        return nan
    return float(values[1].iloc[0] - values[0].iloc[0])


def _grows(
    claim: Mapping[str, Any], item: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """One line: Kendall's τ of two columns of `clusters.csv`, means over embedding seeds."""
    from scipy.stats import kendalltau

    column, along = claim["grows"], claim["with"]
    frame = results.read_clusters(inputs.get("clusters", ()))
    for name, value in claim.get("where", {}).items():
        frame = frame[frame[name] == value]
    means = frame.groupby(along)[column].mean().dropna()
    tau, p = nan, nan
    if len(means) > 2:
        tau, p = map(float, kendalltau(means.index, means.to_numpy(), method="exact"))
    yield _line(
        item,
        " ".join(cell for cell, _ in item["runs"]),
        kind="grows",
        better=column,
        than=f"with {along}",
        n=len(means),
        counts=f"values of {along}",
        unit="τ",
        difference=tau,
        p=p,
        found=by_test(tau, p),
    )


def _within(
    claim: Mapping[str, Any], item: Mapping[str, Any], runs: pd.DataFrame, known: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """One line per table cell that both sides have, then the farthest from print."""
    metric = claim["within"]
    frame = compare(runs, known[~known.is_teacher.astype(bool)], metric)
    frame = frame[frame.reproduced.notna()]
    said = {"kind": "within", "than": "published", "counts": "seeds"}
    said["unit"] = "points" if METRICS[metric].factor == 100 else METRICS[metric].unit
    for method, cells in frame.groupby("method", sort=False):
        lines = []
        for one in cells.itertuples():
            run = runs[(runs.network == one.network) & (runs.method == method)].iloc[0]
            name = str(Cell(one.dataset, one.network, method, run.teacher))
            place = {"dataset": one.dataset, "network": one.network, "better": method, "n": one.n}
            words = _within_tolerance(one.reproduced)
            lines.append(_line(item, name, **said, **place, difference=one.difference, **words))
        yield from lines
        if len(lines) > 1:  # as good as the farthest of them
            last = max(lines, key=lambda line: (line["found"] != "holds", abs(line["difference"])))
            yield last | dict.fromkeys(PLACE, "") | {"rows": len(lines)}


def _within_tolerance(reproduced: bool) -> dict[str, str]:
    if reproduced:
        return {"found": "holds", "verdict": "within tolerance"}
    return {"found": "contradicted", "verdict": "outside tolerance"}
