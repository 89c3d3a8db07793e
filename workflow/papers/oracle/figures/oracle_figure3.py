"""Oracle, Figure 3: t-SNE of a teacher's logits, coloured by superclass, one panel per γ.

Protocol: logits (not softmax) scaled to [0, 1] at once, t-SNE with perplexity 30 and PCA
initialisation, each axis scaled to [0, 1]; un-augmented images, of training unless the legend names
others, equally many of each class. Twenty colours cannot be told apart by everyone, so each
superclass also has a number. It stands at the same images in every panel: those at the densest spot
of the superclass in the first. t-SNE's axes have no meaning and no ticks.
"""

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from xkd.errors import Refused
from xkd.report import arrays, drawing, plots, results
from xkd.report.arrays import Embeddings
from xkd.report.looks import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, "#8C510A", GREY, "#B79F00", "#5E3C99")
MARKERS = ("o", "^")  # superclasses 1-10 and 11-20
LOOKS = list(itertools.product(MARKERS, COLOURS))
GAMMAS = (0, 0.5, 1, 2)  # the paper's panels


def panels_of(embeddings: Embeddings, item: dict) -> dict[float, NDArray]:
    """γ -> [N, 2] for the γ of the item (or of the paper) that were embedded.

    Raises: Refused when none was.
    """
    wanted = item.get("settings", {}).get("gammas", GAMMAS)
    found = {
        gamma: embeddings.points[key]
        for gamma in wanted
        if (key := f"gradient-{gamma:g}") in embeddings.points
    }
    if not found:
        raise Refused(
            f"no embedding for γ in {', '.join(f'{gamma:g}' for gamma in wanted)}; "
            f"found {', '.join(embeddings.points)}; name others as `gammas` under the item's "
            "`settings`"
        )
    return found


def measured(embeddings: Embeddings, item: dict) -> pd.DataFrame:
    """One row per point and γ: x, y, label, coarse."""
    return pd.concat(
        pd.DataFrame(
            {"gamma": gamma, "x": xy[:, 0], "y": xy[:, 1], "label": embeddings.labels}
        ).assign(superclass=[embeddings.group_names[k] for k in embeddings.groups])
        for gamma, xy in panels_of(embeddings, item).items()
    )


@plots.styled
def draw(embeddings: Embeddings, item: dict, clusters: pd.DataFrame | None = None) -> Figure:
    """One panel per γ, two in a row; titled by the silhouettes that `clusters.csv` holds."""
    chosen = panels_of(embeddings, item)
    first = next(iter(chosen.values()))
    cores = {k: _core(first, embeddings.groups == k) for k in np.unique(embeddings.groups)}
    columns = min(2, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure, grid = plots.panels(item, rows, columns, height=1.15 + 3.35 * rows)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    for place, (axes, (gamma, points)) in enumerate(zip(grid.flat, chosen.items(), strict=False)):
        name = f"γ = {gamma:g}" + (" (original images)" if not gamma else "")
        plots.name_panel(axes, place, name + _silhouette(clusters, gamma, embeddings.split))
        _scatter(axes, points, embeddings, cores)
        _thumbnails(axes, points, embeddings)
    names = embeddings.group_names
    entries = [
        Line2D([], [], color=color, marker=marker, ls="", label=f"{k + 1} {name}")
        for k, (name, (marker, color)) in enumerate(zip(names, LOOKS, strict=False))
    ]
    images = {"train": "training", "test": "test"}[embeddings.split]
    title = f"{len(embeddings.labels):,} {images} images, without augmentation"
    figure.legend(handles=entries, loc="outside lower center", ncols=4, fontsize=6.5, title=title,
                  title_fontsize=6.5,
                  columnspacing=1, handletextpad=0.1)  # fmt: skip
    return figure


def _silhouette(clusters: pd.DataFrame | None, gamma: float, split: str) -> str:
    """`, silhouette 0.12`: of superclasses on the embedding, mean over its seeds."""
    if clusters is None:
        return ""
    same = (clusters.kind == "gradient") & np.isclose(clusters.gamma, gamma)
    same &= (clusters.space == "embedding") & (clusters.labels == "super")
    found = clusters.silhouette[same & (clusters.split == split)]
    return f", silhouette {plots.two_decimals(found.mean())}" if len(found) else ""


def _scatter(
    axes: Axes, points: NDArray, embeddings: Embeddings, cores: dict[int, NDArray]
) -> None:
    color = np.array(COLOURS)[embeddings.groups % len(COLOURS)]
    order = np.random.default_rng(0).permutation(len(points))  # no class lies on top of the others
    size = float(np.clip(9000 / len(points), 1.2, 9))
    for lap, marker in enumerate(MARKERS):
        part = order[embeddings.groups[order] // len(COLOURS) == lap]
        style = {"s": size * (1 + 0.5 * lap), "linewidths": 0, "alpha": 0.7, "rasterized": True}
        axes.scatter(*points[part].T, c=color[part], marker=marker, **style)
    for k, core in cores.items():
        x, y = np.median(points[core], axis=0)
        halo = [withStroke(linewidth=2.2, foreground="white")]
        axes.text(x, y, str(k + 1), ha="center", va="center", fontsize=8, fontweight="bold",
                  color=BLACK, path_effects=halo)  # fmt: skip
    axes.set(xlim=(-0.16, 1.16), ylim=(-0.16, 1.16), xticks=[], yticks=[], aspect="equal")
    axes.grid(visible=False)


def _core(points: NDArray, members: NDArray, cells: int = 12) -> NDArray:
    """Indices of members in the fullest cell of a coarse grid: a mean of all may lie in a gap."""
    inside = np.flatnonzero(members)
    index = np.minimum((points[inside] * cells).astype(int), cells - 1)
    place = index[:, 0] * cells + index[:, 1]
    return inside[place == np.bincount(place).argmax()]


def _thumbnails(axes: Axes, points: NDArray, embeddings: Embeddings) -> None:
    """The same sample images in every panel, on the rim, in the order of their angle."""
    count = len(embeddings.thumbnails)
    if not count:
        return
    targets = points[embeddings.thumbnail_points]
    angles = np.arctan2(*(targets - 0.5).T[::-1])
    around = -math.pi + (np.arange(count) + 0.5) * 2 * math.pi / count
    for angle, k in zip(around, np.argsort(angles), strict=True):
        ray = np.array([math.cos(angle), math.sin(angle)])
        spot = 0.5 + 0.57 * ray / np.abs(ray).max()  # where the ray leaves the square
        image = embeddings.thumbnails[k].squeeze()
        picture = OffsetImage(image, zoom=15 / image.shape[0], cmap="gray")
        line = {"arrowstyle": "-", "color": BLACK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}
        axes.add_artist(
            AnnotationBbox(picture, targets[k], spot, pad=0.1, arrowprops=line, frameon=True)
        )


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        embeddings = arrays.embeddings(snakemake.input.embeddings[0])
        clusters = results.read_clusters(snakemake.input.clusters)
        plots.save(draw(embeddings, item, clusters), measured(embeddings, item), snakemake.output)
