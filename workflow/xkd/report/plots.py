"""The look of every figure, and its three files: CSV of what is drawn, PDF and PNG.

Figures are built from `matplotlib.figure.Figure` alone, without pyplot and its global state, so a
test can draw ten of them and nothing needs closing.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xkd.artifacts import atomic, write_text
from xkd.report import families, published

WIDTH = 7.2  # inches; two columns of a paper
MOST_PIXELS = 1200  # wider rasters are cut off in the workflow's report

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,  # real text in the PDF, which journals ask for
    "svg.hashsalt": "xkd",
}
#: No time stamps and no version strings: the same numbers give the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: draw under the house's style, leaving matplotlib's own settings alone."""

    @functools.wraps(draw)
    def inner(*args: Any, **named: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **named)

    return inner


def panels(
    item: Mapping[str, Any], rows: int, columns: int, height: float, **named: Any
) -> tuple[Figure, Any]:
    """A figure of the house's width with a grid of axes [rows, columns], and the demo notice.

    Args:
        height: inches of the whole figure.
        named: passed to `Figure.subplots`.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **named)
    demo_notice(figure, item)
    return figure, axes


def demo_notice(figure: Figure, item: Mapping[str, Any]) -> None:
    """At demo scale, a line above the figure that nobody can crop by accident or overlook."""
    if not published.comparable(item):
        box = {"boxstyle": "round,pad=0.25", "facecolor": "#FFF3D6", "edgecolor": families.ORANGE}
        figure.suptitle(published.DEMO, fontsize=8, fontweight="bold", bbox=box)


def name_panel(axes: Axes, place: int, title: str) -> None:
    """`(a) title`, flush left."""
    axes.set_title(f"({chr(ord('a') + place)}) {title}", loc="left", fontweight="bold")


def gamma_axis(axes: Axes, gammas: pd.Series) -> None:
    """A γ axis that shows zero and spreads the small steps: linear below the first, then log."""
    positive = sorted(gamma for gamma in set(gammas) if gamma > 0)
    if not positive:
        return
    axes.set_xscale("symlog", linthresh=positive[0], linscale=0.6)
    shown = _thinned([0.0, *positive])
    axes.set_xticks(shown, [f"{gamma:g}" for gamma in shown])
    axes.set_xticks([], minor=True)
    axes.set_xlim(-0.25 * positive[0], positive[-1] * 1.3)


def _thinned(values: list[float], apart: float = 1.45) -> list[float]:
    """Ticks at least a factor `apart` from each other, the first two and the last kept."""
    kept = values[:2]
    for value in values[2:]:
        if value >= kept[-1] * apart:
            kept.append(value)
    if kept[-1] != values[-1]:
        kept[-1] = values[-1]
    return kept


def percent(axes: Axes, label: str = "Accuracy (%)") -> None:
    """Fractions on the y axis are labelled in percent."""
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=""))
    axes.set_ylabel(label)


def save(figure: Figure, data: pd.DataFrame, output: Any) -> None:
    """Write output.csv, .pdf and .png, each whole or not at all, the same bytes every time."""
    write_text(output.csv, data.to_csv(index=False))
    dots = min(160, math.floor(MOST_PIXELS / figure.get_figwidth()))
    with matplotlib.rc_context(STYLE):
        for kind in ("pdf", "png"):
            with atomic(getattr(output, kind)) as temporary:
                figure.savefig(temporary, format=kind, dpi=dots, metadata=METADATA[kind])
