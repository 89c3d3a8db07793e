"""Reliability of a teacher on x and on x*: the diagrams behind Oracle, Table 2.

    ECE = Σ_b (|b| / N) · |acc(b) − conf(b)|      Oracle, Eq. 5

Protocol: un-augmented test images, softmax at T = 1, not calibrated, 20 equal-width bins (left,
right]. Bars reach the accuracy of a bin, pale where it has fewer than ten images; a stroke marks
its mean confidence; below, the share of images per bin. x* is computed from the true labels, so its
diagram is no property of a deployable classifier (A47). Beside ours stands, where there is one, the
value that the authors' notebook prints; it calls it calibrated, but the fit that it makes leaves
the temperature at 1.
"""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xkd.report import drawing, plots, published, reinforced, results
from xkd.report.layout import label
from xkd.report.looks import BLUE, GREY, VERMILLION

MOST_COLUMNS = 4
FEWEST, PALE = 10, 0.35  # images of a bin whose accuracy says something; opacity of others


def chosen(responses: pd.DataFrame, item: dict) -> pd.DataFrame:
    """Test split, first seed; the item's reinforcements, or x and the gradient γ nearest to 0.5."""
    test = responses[responses.split == "test"]
    test = test[test.seed == test.groupby(["dataset", "network"]).seed.transform("min")]
    keys = item.get("settings", {}).get("reinforcements")
    if keys is None:
        steps = test[(test.kind == "gradient") & (test.gamma > 0)].gamma
        nearest = [f"gradient-{steps.iloc[(steps - 0.5).abs().argmin()]:g}"] if len(steps) else []
        keys = [reinforced.ORIGINAL, *nearest]
    return test[test.reinforcement.isin(keys)]


def recorded(printed: pd.DataFrame | None) -> dict[tuple[str, str, str], float]:
    """The notebook's calibration errors: data set, network and reinforcement -> ECE."""
    if printed is None:
        return {}
    found = {}
    for row in printed[printed.metric.str.startswith("ece")].itertuples():
        gamma = row.method.partition("gamma=")[2] or "0"
        found[row.dataset, row.network, f"gradient-{gamma}"] = row.value
    return found


def measured(
    responses: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per network, reinforcement and bin: left, right, confidence, accuracy, count; the
    ECE of all bins, ours and as printed.
    """
    tables, theirs = [], recorded(printed)
    for row in chosen(responses, item).itertuples():
        bins = row.reliability
        table = pd.DataFrame({name: bins[name] for name in ("confidence", "accuracy", "count")})
        table.insert(0, "right", bins["edges"][1:])
        table.insert(0, "left", bins["edges"][:-1])
        who = {"dataset": row.dataset, "network": row.network, "reinforcement": row.reinforcement}
        known = theirs.get((row.dataset, row.network, row.reinforcement))
        tables.append(table.assign(**who, ece=row.ece, published_ece=known))
    return pd.concat(tables, ignore_index=True)


@plots.styled
def draw(responses: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None) -> Figure:
    """One diagram per data set, reinforcement and network, in this order; up to four in a line."""
    shown, theirs = chosen(responses, item), recorded(printed)
    datasets, keys, networks = (
        list(dict.fromkeys(shown[name])) for name in ("dataset", "reinforcement", "network")
    )
    known = {(row.dataset, row.reinforcement, row.network): row for row in shown.itertuples()}
    found = [known[one] for one in itertools.product(datasets, keys, networks) if one in known]
    together = max(1, MOST_COLUMNS // len(networks)) * len(networks)  # networks stay aligned
    columns = min(MOST_COLUMNS, together, len(found))
    lines = -(-len(found) // columns)
    figure, grid = plots.panels(
        item, 2 * lines, columns, height=0.5 + 2.15 * lines, height_ratios=[3.4, 1] * lines
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for place, row in enumerate(found):
        line, column = divmod(place, columns)
        upper, lower = grid[2 * line : 2 * line + 2, column]
        _diagram(upper, lower, row, theirs.get((row.dataset, row.network, row.reinforcement)))
        upper.set_title(_title(row, item, len(datasets) > 1), fontsize=7)
        upper.set_ylabel("Accuracy (%)" if column == 0 else "")
        lower.set_ylabel("Images (%)" if column == 0 else "", fontsize=6.5)
        lower.set_xlabel("Confidence (%)" if place + columns >= len(found) else "")
    entries = [
        Patch(facecolor=BLUE, edgecolor="black", label="accuracy"),
        Patch(facecolor=BLUE, alpha=PALE, label=f"of fewer than {FEWEST} images"),
        Line2D([], [], color=VERMILLION, linewidth=2, label="mean confidence"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=0.9, label="as right as sure"),
    ]
    plots.legend(figure, entries)
    return figure


def _title(row: Any, item: dict, with_dataset: bool) -> str:
    dataset = f"{label(item['labels'], 'dataset', row.dataset)}, " if with_dataset else ""
    network = label(item["labels"], "network", row.network)
    return f"{dataset}{network}\n{reinforced.name(row.kind, row.gamma)}"


def _diagram(upper: Axes, lower: Axes, row: Any, theirs: float | None) -> None:
    upper.set_axis_on()
    lower.set_axis_on()
    bins = row.reliability
    edges = np.array(bins["edges"])
    full = np.array(bins["count"]) > 0
    accuracy = np.array(bins["accuracy"], dtype=float)[full]
    confidence = np.array(bins["confidence"], dtype=float)[full]
    left, width = edges[:-1][full], np.diff(edges)[full]
    box = {"width": width, "align": "edge", "linewidth": 0.4}
    for bar, count in zip(
        upper.bar(left, accuracy, color=BLUE, edgecolor="black", **box),
        np.array(bins["count"])[full],
        strict=True,
    ):
        bar.set_alpha(1 if count >= FEWEST else PALE)
    upper.hlines(confidence, left, left + width, color=VERMILLION, linewidth=2, zorder=3)
    upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=0.9)
    share = np.array(bins["count"])[full] / sum(bins["count"])
    lower.bar(left, share, color=GREY, edgecolor="black", **box)
    beside = "" if theirs is None else f" (published {theirs:.4f})"
    note = f"ECE {row.ece:.4f}{beside}\naccuracy {100 * row.top1:.1f} %"
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    upper.text(0.04, 0.96, note, transform=upper.transAxes, va="top", fontsize=6.5, bbox=paper)
    upper.set(xlim=(0, 1), xticks=[0, 0.5, 1], ylim=(0, 1), yticks=[0, 0.5, 1])
    upper.tick_params(labelbottom=False)
    lower.set(xlim=(0, 1), xticks=[0, 0.5, 1], ylim=(0, None))
    for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:g}")


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        responses = results.read_responses(snakemake.input.responses)
        printed = published.beside(snakemake.input, item, "ECE notebook")
        figure, numbers = draw(responses, item, printed), measured(responses, item, printed)
        plots.save(figure, numbers, snakemake.output)
