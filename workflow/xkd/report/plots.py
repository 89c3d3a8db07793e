"""The look of every figure, and its three files: CSV of what is drawn, PDF and PNG.

Figures are built from `matplotlib.figure.Figure` alone, without pyplot and its global state, so a
test can draw ten of them and nothing needs closing.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import PercentFormatter

from xkd.files import atomic, write_text
from xkd.report import caveats, looks

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
NOTICE = {
    "fontsize": 8,
    "fontweight": "bold",
    "bbox": {"boxstyle": "round,pad=0.25", "facecolor": "#FFF3D6", "edgecolor": looks.ORANGE},
}
#: No time stamps and no version strings: the same numbers give the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """The house's style over matplotlib's own defaults, whatever a user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: draw under the house's style, leaving matplotlib's own settings alone."""

    @functools.wraps(draw)
    def inner(*args: Any, **named: Any) -> Figure:
        with house_style():
            return draw(*args, **named)

    return inner


def panels(
    item: Mapping[str, Any], rows: int, columns: int, height: float, **named: Any
) -> tuple[Figure, Any]:
    """A figure of the house's width with a grid of axes [rows, columns], and the notice.

    Args:
        height: inches of the whole figure.
        named: passed to `Figure.subplots`.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **named)
    notice(figure, item)
    return figure, axes


def notice(figure: Figure | SubFigure, item: Mapping[str, Any]) -> None:
    """What is not comparable, in a line above that is hard to overlook or to crop by accident."""
    if text := caveats.banner([item]):
        figure.suptitle(text, **NOTICE)


def blocks(item: Mapping[str, Any], heights: Sequence[float]) -> tuple[Figure, list[SubFigure]]:
    """A figure of stacked parts of these heights in inches, below the notice, if any."""
    notice = caveats.banner([item])
    heights = [0.3, *heights] if notice else list(heights)
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if notice:
        parts.pop(0).text(0.5, 0.5, notice, ha="center", va="center", **NOTICE)
    return figure, parts


def legend(figure: Figure, handles: Sequence[Any], **named: Any) -> None:
    """A legend below the axes, in as many columns as fit into the width of the figure.

    Args:
        named: passed to `Figure.legend`.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    for rows in range(1, len(handles) + 1):
        columns = -(-len(handles) // rows)  # as even as can be
        made = figure.legend(handles=handles, loc="outside lower center", ncols=columns, **named)
        if columns == 1 or made.get_window_extent(renderer).width <= 0.97 * figure.bbox.width:
            return
        made.remove()


def name_panel(axes: Axes, place: int, title: str) -> None:
    """`(a) title`, flush left."""
    axes.set_title(f"({chr(ord('a') + place)}) {title}", loc="left", fontweight="bold")


def gamma_axis(axes: Axes, gammas: pd.Series) -> None:
    """A γ axis that shows zero and spreads the small steps: linear below the first, then log."""
    positive = sorted(gamma for gamma in set(gammas) if gamma > 0)
    if not positive:
        return
    axes.set_xscale("symlog", linthresh=positive[0], linscale=0.6)
    shown = [0.0, *_round_steps(positive)]
    axes.set_xticks(shown, [f"{gamma:g}" for gamma in shown])
    axes.set_xticks(positive, minor=True)
    axes.tick_params(axis="x", which="minor", length=2)
    axes.set_xlim(-0.25 * positive[0], positive[-1] * 1.3)


def _round_steps(values: list[float], apart: float = 2.2) -> list[float]:
    """Values to write at the ticks: 1, then 3, then 2 and 5 of each decade, where there is room."""
    order = "1325"
    kept: list[float] = []
    for value in sorted(values, key=lambda value: order.find(f"{value:e}"[0]) % len("13250")):
        if all(max(value / other, other / value) >= apart for other in kept):
            kept.append(value)
    return sorted(kept)


def same_span(panels: Sequence[Axes]) -> None:
    """Give the y axes of panels the same length, each around its own data: steps look alike."""
    limits = [axes.get_ylim() for axes in panels]
    half = max(high - low for low, high in limits) / 2
    for axes, (low, high) in zip(panels, limits, strict=True):
        axes.set_ylim((low + high) / 2 - half, (low + high) / 2 + half)


def two_decimals(value: float) -> str:
    """`−0.50` with a real minus sign, and no negative zero."""
    return f"{round(float(value), 2) + 0.0:.2f}".replace("-", "−")


def percent(axes: Axes, label: str = "Accuracy (%)") -> None:
    """Fractions on the y axis are labelled in percent."""
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=""))
    axes.set_ylabel(label)


def save(figure: Figure, data: pd.DataFrame, output: Any) -> None:
    """Write output.csv, .pdf and .png, each whole or not at all, the same bytes every time."""
    write_text(output.csv, data.to_csv(index=False))
    dots = min(160, math.floor(MOST_PIXELS / figure.get_figwidth()))
    with house_style():
        for kind in ("pdf", "png"):
            with atomic(getattr(output, kind)) as temporary:
                figure.savefig(temporary, format=kind, dpi=dots, metadata=METADATA[kind])
