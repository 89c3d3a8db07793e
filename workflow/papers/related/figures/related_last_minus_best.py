"""Related, Figure 2: test accuracy of the best epoch above that of the last, by method.

Protocol: test split; a dot per pair of networks, the mean over its seeds; the bar is the mean of
the dots. The best epoch is chosen by the test images themselves: what a table gains by printing it.
"""

import pandas as pd
from matplotlib.figure import Figure

from xkd.report import drawing, looks, plots, results
from xkd.report.layout import column_names

KEY = ["dataset", "network", "teacher", "method"]


def measured(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of best − last, a fraction, per pair of networks and method: column `gap`."""
    gaps = runs.assign(gap=runs.best_top1 - runs.top1)
    frame = gaps.groupby(KEY, sort=False, dropna=False).gap.agg(n="count", gap="mean")
    return frame.reset_index()


@plots.styled
def draw(frame: pd.DataFrame, item: dict) -> Figure:
    """frame: as `measured` returns it."""
    shown = [name for name in item.get("methods", frame.method) if name in set(frame.method)]
    methods = looks.ordered(shown)
    figure, ((axes,),) = plots.panels(item, 1, 1, height=3.2)
    for place, method in enumerate(methods):
        look, gaps = looks.look(method), 100 * frame.gap[frame.method == method]
        axes.bar(place, gaps.mean(), 0.7, color=look.color, alpha=0.6, hatch=look.hatch)
        axes.plot([place] * len(gaps), gaps, "o", color="black", markersize=3)
    axes.set_xticks(range(len(methods)), column_names(methods, item["labels"]), rotation=60)
    axes.tick_params(axis="x", labelrotation=60)
    for text in axes.get_xticklabels():
        text.set_horizontalalignment("right")
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("Best − last epoch (points)")
    return figure


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        frame = measured(results.read_cells(snakemake.input.cells, item))
        plots.save(draw(frame, item), frame, snakemake.output)
