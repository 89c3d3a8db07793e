"""Insertion and deletion curves, averaged over images.

Protocol: probability of the class that the target predicts, as the most important pixels are
inserted into the blurred image, or deleted from the image; mean over the drawn test images and all
seeds. Bands: 95 % interval of the mean over images, each image's curves averaged over seeds first.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xkd.plan.runs import Cell, Run
from xkd.report import drawing, plots, saliency
from xkd.report.layout import label

KINDS = {"insertion": "pixels inserted (%)", "deletion": "pixels deleted (%)"}
SHOWN = tuple(saliency.LOOKS)[:8]  # more lines than these hide each other
Z = 1.96


def measured(found: list[tuple[Run, dict]]) -> pd.DataFrame:
    """Mean and half width of its interval, by cell, explanation, kind and share of pixels."""
    cells: dict[Cell, list[dict]] = {}
    for run, arrays in found:
        cells.setdefault(run.cell, []).append(arrays)
    parts = []
    for cell, seeds in cells.items():
        for name in SHOWN:
            if f"{name}/insertion_curve" not in seeds[0]:
                continue
            for kind in KINDS:
                curves = np.mean([a[f"{name}/{kind}_curve"].astype(float) for a in seeds], axis=0)
                spread = curves.std(0, ddof=1) if len(curves) > 1 else np.zeros(curves.shape[1])
                parts.append(
                    pd.DataFrame(
                        {
                            "cell": str(cell),
                            "dataset": cell.dataset,
                            "explanation": name,
                            "kind": kind,
                            "share": np.linspace(0, 1, curves.shape[1]),
                            "mean": curves.mean(0),
                            "half_width": Z * spread / len(curves) ** 0.5,
                            "images": len(curves),
                            "seeds": len(seeds),
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


@plots.styled
def draw(frame: pd.DataFrame, item: dict) -> Figure:
    """frame: of `measured`."""
    cells = list(dict.fromkeys(frame.cell))
    height = 0.7 + 2.5 * len(cells)
    figure, grid = plots.panels(item, len(cells), 2, height, sharey="row")
    for row, cell in enumerate(cells):
        part = frame[frame.cell == cell]
        dataset = label(item["labels"], "dataset", part.dataset.iloc[0])
        for column, (kind, axis) in enumerate(KINDS.items()):
            axes = grid[row, column]
            _panel(axes, part[part.kind == kind])
            axes.set_xlabel(axis.capitalize())
            plots.name_panel(axes, 2 * row + column, f"{kind}, {dataset}")
        grid[row, 0].set_ylabel("Probability of the predicted class")
    shown = [name for name in SHOWN if name in set(frame.explanation)]
    entries = [_entry(name) for name in shown]
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    for name, line in part.groupby("explanation", sort=False):
        look = saliency.look(name)
        axes.plot(100 * line.share, line["mean"], look.dash, color=look.color)
        low, high = line["mean"] - line.half_width, line["mean"] + line.half_width
        axes.fill_between(100 * line.share, low, high, color=look.color, alpha=0.18, linewidth=0)
    axes.set(xlim=(0, 100), ylim=(0, 1.02))


def _entry(name: str) -> Line2D:
    look = saliency.look(name)
    return Line2D([], [], color=look.color, ls=look.dash, label=saliency.name_of(name))


if __name__ == "__main__":
    with drawing.job(snakemake):
        frame = measured(saliency.read_images(snakemake.input.saliency_images))
        plots.save(draw(frame, snakemake.params.item), frame, snakemake.output)
