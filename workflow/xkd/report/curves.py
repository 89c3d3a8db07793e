"""Student accuracy against the teacher, one line per method."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from xkd.report import looks, published
from xkd.report.layout import column_names, label
from xkd.report.looks import BLACK
from xkd.report.results import of_slug, with_plain_teachers

KEY = ["dataset", "network", "teacher", "method"]


def measured(
    runs: pd.DataFrame, item: Mapping[str, Any], printed: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Mean and sample s.d. over seeds per student, teacher and method; the CSV of these figures.

    Args:
        runs: one row per run; those without a teacher are left out.
        printed: as `published.load` gives it; its last-epoch accuracy goes to column `published`
            (NaN where there is none, and everywhere at demo scale).
    """
    taught = with_plain_teachers(runs[runs.teacher.notna()])
    frame = taught.groupby(KEY, sort=False).top1.agg(n="count", mean="mean", std="std")
    frame = frame.reset_index()
    if printed is None or not published.comparable(item):
        return frame.assign(published=float("nan"))
    theirs = printed[printed.metric == "top1"].rename(columns={"value": "published"})
    return frame.merge(theirs[[*KEY, "published"]], on=KEY, how="left")


def in_order(names: Sequence[str], runs: pd.DataFrame) -> list[str]:
    """Teachers or students from small to large, by the parameters of runs of that name."""
    size = runs.groupby("network").parameters.max()
    return sorted(dict.fromkeys(names), key=lambda name: (size.get(of_slug(name)[0], 0), name))


def draw_methods(
    axes: Axes, frame: pd.DataFrame, teachers: Sequence[str], item: Mapping[str, Any]
) -> None:
    """Means of one student. Methods stand side by side within a teacher, so that bars do not hide.

    Teachers are no scale: a pale line only guides the eye from one teacher to the next.

    Args:
        frame: rows of `measured` for one student; teachers: x positions in order.
    """
    methods = looks.ordered(frame.method)
    for place, method in enumerate(methods):
        look, style = looks.look(method), _style(method, methods)
        shift = (place - (len(methods) - 1) / 2) * 0.07
        line = frame[frame.method == method].set_index("teacher").reindex(list(teachers))
        x = [position + shift for position in range(len(teachers))]
        guide = {"color": look.color, "linestyle": look.dash, "linewidth": 0.9, "alpha": 0.45}
        axes.plot(x, line["mean"], **guide)
        points = {**style, "linestyle": "none", "zorder": 3}
        axes.errorbar(
            x, line["mean"], yerr=line["std"].fillna(0), capsize=2, elinewidth=0.8, **points
        )
        axes.plot(x, line.published, "D", markersize=5.5, markerfacecolor="none", color=look.color)
    best = frame.loc[frame["mean"].idxmax()]
    spot = list(teachers).index(best.teacher)
    spot += (methods.index(best.method) - (len(methods) - 1) / 2) * 0.07
    top = best["mean"] + (0 if pd.isna(best["std"]) else best["std"])
    above = axes.transData + ScaledTranslation(0, 9 / 72, axes.get_figure().dpi_scale_trans)
    axes.plot(spot, top, "*", markersize=9, color=BLACK, clip_on=False, transform=above)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(teachers)))
    axes.set_xticklabels([label(item["labels"], "teacher", name) for name in teachers])
    axes.set_xlim(-0.4, len(teachers) - 0.6)


def legend_entries(frame: pd.DataFrame, item: Mapping[str, Any]) -> list[Line2D]:
    """Methods in the house's order, the star, and the hollow diamond where print is shown."""
    methods = looks.ordered(frame.method)
    entries = []
    for method, name in zip(methods, column_names(methods, item["labels"]), strict=True):
        entries.append(Line2D([], [], label=name, **_style(method, methods)))
    entries.append(Line2D([], [], color=BLACK, marker="*", ls="", ms=9, label="best mean"))
    if frame.published.notna().any():
        hollow = {"marker": "D", "ls": "", "markerfacecolor": "none", "color": BLACK}
        entries.append(Line2D([], [], label="published", **hollow))
    return entries


def _style(method: str, among: Sequence[str]) -> dict[str, str]:
    """Line and marker; hollow where an earlier method, a variant, already has the same look."""
    look = looks.look(method)
    style = {"color": look.color, "marker": look.marker, "linestyle": look.dash}
    if look in [looks.look(other) for other in among[: among.index(method)]]:
        style["markerfacecolor"] = "white"
    return style
