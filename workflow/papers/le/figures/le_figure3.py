"""LE, Figure 3: test accuracy by explanation method.

Protocol: test split, last epoch; bars are means and whiskers sample s.d. over seeds, dots the seeds
themselves; CE and LE-Uniform are lines, because the claim is about the order of the bars between
and above them. Hollow diamonds: published, known for two of the four bars (LE, Table 6).
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xkd.report import drawing, looks, plots, published, results
from xkd.report.layout import label

LINES = ("ce", "le_uniform")
DOT = {"markersize": 2.8, "markerfacecolor": "white", "color": "black", "markeredgewidth": 0.6}
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
        _bars(axes, frame[frame.network == network], seeds, item)
        plots.percent(axes, "Test accuracy (%)")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def _bars(axes: Axes, frame: pd.DataFrame, runs: pd.DataFrame, item: dict) -> None:
    methods = [name for name in looks.ordered(frame.method) if name not in LINES]
    rows = frame.set_index("method")
    reach = pd.concat([runs.top1, rows["mean"] - rows["std"], rows["mean"] + rows["std"]])
    reach = pd.concat([reach, rows.published])
    margin = 0.2 * (reach.max() - reach.min() or 0.01)
    floor = reach.min() - margin
    for place, method in enumerate(methods):
        look, row = looks.look(method), rows.loc[method]
        paint = {"color": look.color, "alpha": 0.75, "hatch": look.hatch, "edgecolor": "black"}
        axes.bar(place, row["mean"] - floor, 0.7, bottom=floor, linewidth=0.7, **paint)
        if row["std"] > 0:
            axes.errorbar(place, row["mean"], row["std"], color="black", capsize=4, zorder=3)
        seeds = runs.top1[runs.method == method]
        name = "one seed" if place == 0 else None
        axes.plot([place + 0.22] * len(seeds), seeds, "o", zorder=4, label=name, **DOT)
    for method in [name for name in LINES if name in rows.index]:
        look, name = looks.look(method), label(item["labels"], "method", method)
        axes.axhline(rows["mean"][method], color=look.color, linestyle=look.dash, label=name)
    if rows.published.notna().any():
        axes.plot(rows.published.reindex(methods).to_list(), "D", label="published", **HOLLOW)
    axes.set_xticks(range(len(methods)), [_explanation(name, item) for name in methods])
    axes.grid(visible=False, axis="x")
    axes.set_ylim(floor, reach.max() + margin)
    plots.cut_mark(axes)
    axes.set_xlabel("Explanation in LE")


def _explanation(method: str, item: dict) -> str:
    """`Grad-CAM` of `LE(Grad-CAM)`: the axis says LE already."""
    return label(item["labels"], "method", method).removeprefix("LE(").removesuffix(")")


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        runs = results.read_cells(snakemake.input.cells, item)
        printed = published.beside(snakemake.input, item, "Figure 3")
        plots.save(draw(runs, item, printed), measured(runs, item, printed), snakemake.output)
