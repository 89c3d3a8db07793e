"""Oracle, Figure 4: silhouette and top-1 accuracy as γ grows.

    s(k) = (D_nc(k) − D_ic(k)) / max(D_nc(k), D_ic(k))      Oracle, Eq. 6

Protocol: one teacher; x* = x − (γ/64)·|x|·g from the true labels. Rows are splits. Silhouettes with
superclass and with class labels: Euclidean on the t-SNE embedding, as in the authors' notebook
(mean and s.d. over embedding seeds, which shake the PCA start of t-SNE), and on the logits,
Euclidean and cosine. A circle marks each line's best γ. Crosses: the notebook's recorded values, on
augmented training images.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xkd.report import drawing, plots, published, results
from xkd.report.looks import BLACK, BLUE, GREEN, VERMILLION

LOOKS = {"super": (BLUE, "o", "superclasses"), "sub": (VERMILLION, "s", "classes")}
SPLITS = ("test", "train")
PANELS = ("t-SNE", "logits", "accuracy")
NOTEBOOK = {"silhouette_superclass": "super", "silhouette_subclass": "sub"}


def measured(clusters: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample s.d. of the silhouette over embedding seeds; top1 is the same for all."""
    gradient = clusters[clusters.kind == "gradient"]
    key = ["split", "space", "metric", "labels", "gamma"]
    groups = gradient.groupby(key, sort=False)
    frame = groups.silhouette.agg(n="count", mean="mean", std="std").join(groups.top1.first())
    return frame.reset_index().sort_values([*key[:-1], "gamma"], kind="stable")


def recorded(printed: pd.DataFrame) -> pd.DataFrame:
    """The notebook's rows of `published.load`: gamma, what (super, sub, top1), value."""
    rows = printed[printed.method.str.startswith("gamma=")]
    what = rows.metric.map({**NOTEBOOK, "train_accuracy": "top1"})
    gamma = rows.method.str.removeprefix("gamma=").astype(float)
    return pd.DataFrame({"gamma": gamma, "what": what, "value": rows.value}).dropna()


@plots.styled
def draw(clusters: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None) -> Figure:
    """clusters: rows of `clusters.csv`, top1 a fraction in [0, 1]."""
    frame = measured(clusters)
    splits = [split for split in SPLITS if split in set(frame.split)]
    crosses = recorded(printed) if printed is not None and "train" in splits else None
    figure, grid = plots.panels(item, len(splits), 3, height=0.65 + 2.25 * len(splits))
    for row, split in enumerate(splits):
        part = frame[frame.split == split]
        theirs = crosses if split == "train" else None
        spaces = [part[part.space == space] for space in ("embedding", "logits")]
        for axes, lines in zip(grid[row], spaces, strict=False):
            _silhouettes(axes, lines)
            axes.set_ylabel("Silhouette")
        _line(grid[row, 2], part.drop_duplicates("gamma"), "top1", GREEN, "^")
        plots.percent(grid[row, 2], "Top-1 accuracy (%)")
        if theirs is not None:
            _crosses(grid[row, 0], theirs, {kind: look[0] for kind, look in LOOKS.items()})
            _crosses(grid[row, 2], theirs, {"top1": GREEN})
        for place, axes in enumerate(grid[row]):
            plots.name_panel(axes, 3 * row + place, f"{PANELS[place]}, {split} images")
            plots.gamma_axis(axes, frame.gamma)
            axes.set_xlabel("Step size γ (linear, then log)")
    plots.legend(figure, _entries(crosses is not None))
    return figure


def _silhouettes(axes: Axes, frame: pd.DataFrame) -> None:
    for (metric, labels), line in frame.groupby(["metric", "labels"], sort=False):
        color, marker, _ = LOOKS[labels]
        hollow = metric == "cosine"
        _line(axes, line, "mean", color, marker, "--" if hollow else "-", hollow)
        low, high = line["mean"] - line["std"], line["mean"] + line["std"]
        axes.fill_between(line.gamma, low, high, color=color, alpha=0.2, linewidth=0)


def _line(
    axes: Axes, line: pd.DataFrame, column: str, color: str, marker: str,
    dash: str = "-", hollow: bool = False,
) -> None:  # fmt: skip
    fill = {"markerfacecolor": "white"} if hollow else {}
    axes.plot(line.gamma, line[column], dash, color=color, marker=marker, markersize=3.5, **fill)
    best = line.loc[line[column].idxmax()]
    ring = {"markersize": 11, "markerfacecolor": "none", "color": BLACK, "markeredgewidth": 1}
    axes.plot(best.gamma, best[column], "o", clip_on=False, zorder=5, **ring)


def _crosses(axes: Axes, recorded: pd.DataFrame, colors: dict[str, str]) -> None:
    for what, color in colors.items():
        points = recorded[recorded.what == what]
        axes.plot(points.gamma, points.value, "x", color=color, markersize=6, markeredgewidth=1.6)


def _entries(crosses: bool) -> list[Line2D]:
    plain = {"color": BLACK, "markersize": 4}
    entries = [
        Line2D([], [], color=color, marker=marker, ls="", label=name)
        for color, marker, name in LOOKS.values()
    ]
    entries += [
        Line2D([], [], marker="o", label="Euclidean", **plain),
        Line2D([], [], marker="o", ls="--", label="cosine", markerfacecolor="white", **plain),
        Line2D([], [], color=GREEN, marker="^", label="top-1"),
        Line2D(
            [], [], marker="o", ls="", ms=10, markerfacecolor="none", color=BLACK, label="best γ"
        ),
    ]
    name = "± s.d. over t-SNE seeds"
    entries.append(Patch(facecolor=BLACK, alpha=0.2, linewidth=0, label=name))
    if crosses:
        name = "published notebook, augmented images"
        entries.append(Line2D([], [], marker="x", ls="", color=BLACK, label=name))
    return entries


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        clusters = results.read_clusters(snakemake.input.clusters)
        printed = published.beside(snakemake.input, item, "t-SNE/silhouette notebook")
        plots.save(draw(clusters, item, printed), measured(clusters), snakemake.output)
