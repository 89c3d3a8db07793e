"""Insertion against the time that an explanation takes.

Protocol: insertion area, mean over images and seeds; milliseconds per image at batch 1, median over
rounds, then over seeds, finding the class included. Towards the upper left is better. The dashed
line is the target's own inference.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xkd.report import drawing, plots, saliency
from xkd.report.layout import label


def measured(scores: pd.DataFrame, speed: pd.DataFrame) -> pd.DataFrame:
    """One line per cell and explanation that was both scored and timed; `inference` by itself."""
    key = [*saliency.PLACE, "explanation"]
    times = speed.groupby(key, dropna=False, sort=False).seconds.median().reset_index()
    means = scores.groupby(key, dropna=False, sort=False).insertion.mean().reset_index()
    kept = times.explanation.isin([*means.explanation, "inference"])
    return times[kept].merge(means, on=key, how="left")


@plots.styled
def draw(frame: pd.DataFrame, item: dict) -> Figure:
    """frame: of `measured`; seconds per image, insertion in [0, 1]."""
    cells = list(frame.groupby(saliency.PLACE, dropna=False, sort=False))
    columns = min(2, len(cells))
    rows = -(-len(cells) // columns)
    figure, grid = plots.panels(item, rows, columns, 0.8 + 2.6 * rows)
    for number, (place, part) in enumerate(cells):
        axes = grid[number // columns, number % columns]
        _panel(axes, part)
        plots.name_panel(axes, number, label(item["labels"], "dataset", place[0]))
    for unused in range(len(cells), rows * columns):
        grid[unused // columns, unused % columns].axis("off")
    names = [name for name in dict.fromkeys(frame.explanation) if name != "inference"]
    entries = [
        Line2D(
            [], [], ls="", marker=saliency.look(name).marker, color=saliency.look(name).color,
            label=saliency.name_of(name),
        )
        for name in names
    ]  # fmt: skip
    entries.append(Line2D([], [], ls="--", color="black", lw=0.8, label="target's inference"))
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    for point in part.dropna(subset="insertion").itertuples():
        look = saliency.look(point.explanation)
        axes.plot(1e3 * point.seconds, point.insertion, look.marker, color=look.color, ms=6)
    base = part[part.explanation == "inference"].seconds
    if len(base):
        axes.axvline(1e3 * base.iloc[0], ls="--", lw=0.8, color="black")
    axes.set_xscale("log")
    axes.set_xlabel("Milliseconds per image (log)")
    axes.set_ylabel("Insertion area")


if __name__ == "__main__":
    with drawing.job(snakemake):
        scores = saliency.read(snakemake.input.saliency)
        frame = measured(scores, saliency.read(snakemake.input.speed))
        plots.save(draw(frame, snakemake.params.item), frame, snakemake.output)
