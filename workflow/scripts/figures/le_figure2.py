"""LE, Figure 2: which classes the explanations call similar.

    M[a, b] = mean over test images of cos(e^a(x), e^b(x))

Protocol: all test images, not only those of classes a and b; network at the end of LE training (A39).
The pairs that the paper's text names are framed and ranked among the C(C−1)/2 off-diagonal cells;
rank 1 is the most similar. The diagonal (1 up to the share of zero maps) is off the colour scale.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from xkd.analysis.class_similarity import PairRank, pair_ranks
from xkd.report import job, panels, plots, published
from xkd.report.families import VERMILLION
from xkd.report.panels import Similarity

MOST_WRITTEN = 12  # with more classes the cells are too small for numbers


def named_pairs(item: dict, path: str | None) -> list[tuple[str, str]]:
    """Pairs of the item, `[[dog, cat], ...]`; else those that the paper's text names."""
    if item.get("pairs") is not None:
        return [(str(first), str(second)) for first, second in item["pairs"]]
    if path is None:
        return []
    printed = published.load(path, item["labels"])
    pairs = printed.text[printed.metric == "similar_class_pair"]
    return [tuple(pair.split("-", 1)) for pair in pairs]


def ranks_of(panel: Similarity, pairs: list[tuple[str, str]]) -> list[PairRank]:
    """Ranks of the pairs whose two classes this panel has."""
    mine = [pair for pair in pairs if set(pair) <= set(panel.class_names)]
    return pair_ranks(panel.similarity, panel.class_names, mine)


def measured(similarities: list[Similarity], pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """One row per unordered pair: panel, classes, similarity, rank, of, named in the paper."""
    rows = []
    for panel in similarities:
        names = panel.class_names
        every = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
        known = {frozenset(pair) for pair in pairs}
        for rank in sorted(
            pair_ranks(panel.similarity, names, every), key=lambda found: found.rank
        ):
            row = {"panel": panel.title, **rank._asdict()}
            rows.append({**row, "named": frozenset((rank.first, rank.second)) in known})
    return pd.DataFrame(rows)


@plots.styled
def draw(similarities: list[Similarity], pairs: list[tuple[str, str]], item: dict) -> Figure:
    """One heat map per panel, side by side."""
    figure, grid = plots.panels(item, 1, len(similarities), height=4.3)
    for place, (axes, panel) in enumerate(zip(grid[0], similarities, strict=True)):
        plots.name_panel(axes, place, panel.title)
        image = _heat(axes, panel)
        ranks = ranks_of(panel, pairs)
        _frames(axes, panel, ranks)
        bar = figure.colorbar(image, ax=axes, location="bottom", fraction=0.04, pad=0.02, aspect=35)
        bar.set_label("Mean cosine of two explanations")
        bar.outline.set_linewidth(0.4)
        lines = [f"{rank.first} and {rank.second}: rank {rank.rank} of {rank.of}" for rank in ranks]
        text = "\n".join(lines) or "no pair of this data set is named in the paper"
        bar.ax.text(0, -3.6, text, transform=bar.ax.transAxes, va="top", fontsize=7.5)
    return figure


def _heat(axes: Axes, panel: Similarity) -> object:
    size = len(panel.class_names)
    others = panel.similarity[~np.eye(size, dtype=bool)]
    shown = np.ma.masked_array(panel.similarity, np.eye(size, dtype=bool))
    image = axes.imshow(shown, cmap="cividis", vmin=others.min(), vmax=others.max())
    middle = (others.min() + others.max()) / 2
    for row, column in np.ndindex(size, size) if size <= MOST_WRITTEN else ():
        value = panel.similarity[row, column]
        ink = "black" if row == column or value > middle else "white"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=5.5, color=ink)
    axes.set_facecolor("#E4E4E4")
    ticks = range(size) if size <= 25 else range(0, size, 10)
    names = [panel.class_names[tick] for tick in ticks]
    long = max(map(len, names)) > 3
    axes.set_xticks(ticks, names, rotation=45 if long else 0, ha="right" if long else "center",
                    rotation_mode="anchor" if long else None)  # fmt: skip
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return image


def _frames(axes: Axes, panel: Similarity, ranks: list[PairRank]) -> None:
    for rank in ranks:
        places = panel.class_names.index(rank.first), panel.class_names.index(rank.second)
        for row, column in (places, places[::-1]):
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=VERMILLION, linewidth=1.8))


if __name__ == "__main__":
    with job.logged(snakemake.log):
        item = snakemake.params.item
        found = panels.similarities(snakemake.input.similarity)
        pairs = named_pairs(item, snakemake.input.get("published"))
        plots.save(draw(found, pairs, item), measured(found, pairs), snakemake.output)
