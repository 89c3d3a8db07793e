"""LE, Figure 2: which classes the explanations call similar.

    M[a, b] = mean over test images of cos(e^a(x), e^b(x))

Protocol: all test images, not only those of classes a and b; network at the end of LE training
(A39). The pairs that the paper's text names are framed, and ranked among the C(C−1)/2 off-diagonal
cells; rank 1 is the most similar. They hold where they rank higher than all others (Mann and
Whitney's test, exact, p < 0.05). One colour scale for all panels, centred at zero; the diagonal (1
but for zero maps) is off it.
"""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xkd.measures.class_similarity import PairRank, pair_ranks
from xkd.report import arrays, drawing, plots, vocabulary
from xkd.report.arrays import Similarity
from xkd.report.looks import BLACK
from xkd.report.other_claims import pairs_apart

MOST_WRITTEN = 12  # with more classes the cells are too small for numbers


def measured(similarities: list[Similarity]) -> pd.DataFrame:
    """One row per unordered pair: panel, classes, similarity, rank, of, named in the paper."""
    rows = []
    for panel in similarities:
        names = panel.class_names
        every = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
        known = {frozenset(pair) for pair in panel.pairs}
        for rank in sorted(
            pair_ranks(panel.similarity, names, every), key=lambda found: found.rank
        ):
            row = {"panel": panel.title, **rank._asdict()}
            rows.append({**row, "named": frozenset((rank.first, rank.second)) in known})
    return pd.DataFrame(rows)


@plots.styled
def draw(similarities: list[Similarity], item: dict) -> Figure:
    """One heat map per panel, side by side."""
    figure, grid = plots.panels(item, 1, len(similarities), height=4.55)
    limit = max(float(np.abs(_others(panel)).max()) for panel in similarities)
    for place, (axes, panel) in enumerate(zip(grid[0], similarities, strict=True)):
        plots.name_panel(axes, place, panel.title)
        image = _heat(axes, panel, limit)
        ranks = pair_ranks(panel.similarity, panel.class_names, panel.pairs)
        _frames(axes, panel, ranks)
        bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.75, aspect=30, pad=0.02)
        bar.set_label(f"Mean cosine of two explanations\n\n{_in_words(ranks, panel)}")
        bar.outline.set_linewidth(0.4)
    return figure


def _others(panel: Similarity) -> NDArray:
    return panel.similarity[~np.eye(len(panel.class_names), dtype=bool)]


def _heat(axes: Axes, panel: Similarity, limit: float) -> object:
    size, names = len(panel.class_names), list(panel.class_names)
    diagonal = np.eye(size, dtype=bool)
    written = np.vectorize(plots.two_decimals)(panel.similarity) if size <= MOST_WRITTEN else None
    long = max(map(len, names)) > 3
    seaborn.heatmap(
        panel.similarity,
        ax=axes,
        mask=diagonal,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        annot=written,
        fmt="",
        annot_kws={"fontsize": 5.5},
        square=True,
        cbar=False,
        xticklabels=names if size <= 25 else 10,
        yticklabels=names if size <= 25 else 10,
    )
    for place in range(size) if written is not None else ():
        axes.text(place + 0.5, place + 0.5, written[place, place], ha="center", va="center",
                  fontsize=5.5)  # fmt: skip
    axes.set_facecolor("#E4E4E4")
    axes.tick_params(length=0, axis="y", rotation=0)
    axes.tick_params(length=0, axis="x", rotation=45 if long else 0)
    axes.grid(visible=False)
    axes.set(xlabel="explanation of class", ylabel="explanation of class")
    return axes.collections[0]


def _in_words(ranks: list[PairRank], panel: Similarity) -> str:
    if not ranks:
        return "No pair of these classes is named in the paper."
    places = ", ".join(str(rank.rank) for rank in ranks)
    _, p, found = pairs_apart(panel)
    word = vocabulary.WORDS[found]
    told = f"Framed, the pairs that the paper names:\nranks {places} of {ranks[0].of}"
    return f"{told}\n{word.symbol} more similar than others: {found} here (p = {p:.2f})"


def _frames(axes: Axes, panel: Similarity, ranks: list[PairRank]) -> None:
    for rank in ranks:
        places = panel.class_names.index(rank.first), panel.class_names.index(rank.second)
        for row, column in (places, places[::-1]):
            corner = (column, row)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=BLACK, linewidth=1.8))


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        found = arrays.similarities(snakemake.input.similarity, item["labels"])
        plots.save(draw(found, item), measured(found), snakemake.output)
