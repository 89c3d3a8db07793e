"""LE, Figure 3: test accuracy by explanation method.

Protocol: test split, last epoch; means and sample s.d. over seeds, small dots the seeds themselves.
CE and LE-Uniform stand apart, because the claim is about the order of the four explanations. Panels
have the same length of scale. Hollow diamonds: published, known for two of the four (LE, Table 6).
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xkd.report import drawing, looks, plots, published, results
from xkd.report.layout import label

CONTROLS = ("ce", "le_uniform")
SEED = {"markersize": 2.8, "markerfacecolor": "white", "color": looks.GREY, "markeredgewidth": 0.6}
HOLLOW = {"markersize": 7, "markerfacecolor": "none", "color": looks.BLACK, "zorder": 5}


def measured(runs: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None) -> pd.DataFrame:
    """Mean and sample s.d. per network and method, the published value beside."""
    key = ["dataset", "network", "method"]
    frame = runs.groupby(key, sort=False).top1.agg(n="count", mean="mean", std="std").reset_index()
    if printed is None:
        return frame.assign(published=float("nan"))
    theirs = printed[printed.metric == "top1"].rename(columns={"value": "published"})
    return frame.merge(theirs[[*key, "published"]], on=key, how="left")


@plots.styled
def draw(runs: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None) -> Figure:
    """runs: one row per run; reads dataset, network, method, top1 (fraction in [0, 1])."""
    frame = measured(runs, item, printed)
    networks = list(dict.fromkeys(runs.network))
    figure, grid = plots.panels(item, 1, len(networks), height=2.9)
    for place, (axes, network) in enumerate(zip(grid[0], networks, strict=True)):
        plots.name_panel(axes, place, label(item["labels"], "network", network))
        seeds = runs[runs.network == network]
        _dots(axes, frame[frame.network == network], seeds, item)
        plots.percent(axes, "Test accuracy (%)")
    plots.same_span(list(grid[0]))
    plots.legend(figure, grid[0, 0].get_legend_handles_labels()[0])
    return figure


def _dots(axes: Axes, frame: pd.DataFrame, runs: pd.DataFrame, item: dict) -> None:
    ordered = looks.ordered(frame.method)
    methods = sorted(ordered, key=lambda name: name not in CONTROLS)  # controls to the left
    rows = frame.set_index("method")
    for place, method in enumerate(methods):
        look, row = looks.look(method), rows.loc[method]
        seeds = runs.top1[runs.method == method]
        first = place == 0
        name = "one seed" if first else None
        axes.plot([place + 0.2] * len(seeds), seeds, "o", zorder=2, label=name, **SEED)
        name = "mean ± s.d." if first else None
        paint = {"color": look.color, "marker": look.marker, "markersize": 6, "linestyle": "none"}
        paint |= {"markeredgecolor": looks.BLACK, "markeredgewidth": 0.5}
        spread = 0 if pd.isna(row["std"]) else row["std"]
        axes.errorbar(place, row["mean"], spread, capsize=4, zorder=3, label=name, **paint)
    if rows.published.notna().any():
        places = [place for place, name in enumerate(methods) if rows.published[name] > 0]
        theirs = [rows.published[methods[place]] for place in places]
        axes.plot(places, theirs, "D", linestyle="none", label="published", **HOLLOW)
    controls = sum(name in CONTROLS for name in methods)
    if 0 < controls < len(methods):
        axes.axvline(controls - 0.5, color=looks.GREY, linewidth=0.7, linestyle=":")
    axes.set_xticks(
        range(len(methods)), [_explanation(name, item) for name in methods], rotation=20
    )
    axes.set_xlim(-0.6, len(methods) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.15)
    axes.set_xlabel("Control, or explanation in LE")


def _explanation(method: str, item: dict) -> str:
    """`Grad-CAM` of `LE(Grad-CAM)`: the axis says LE already."""
    return label(item["labels"], "method", method).removeprefix("LE(").removesuffix(")")


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        runs = results.read_cells(snakemake.input.cells, item)
        printed = published.beside(snakemake.input, item, "Figure 3")
        plots.save(draw(runs, item, printed), measured(runs, item, printed), snakemake.output)
