"""LE, Figure 1: explanations of every class for a few test images, and their similarity.

Protocol: correctly classified test images drawn with a fixed seed, network at the end of LE
training (A38). Under each map stands cos(e^k, e^g) with the true class g, which is framed. Grad is
signed, on a diverging scale symmetric about zero; Grad-CAM is upsampled bilinearly. One row has one
scale, its own largest magnitude, so that a zero map looks like nothing.
"""

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from xkd.errors import Refused
from xkd.report import arrays, drawing, plots
from xkd.report.arrays import Explanations

MOST_CLASSES = 12  # columns that stay legible across a page
SIGNED, POSITIVE = "RdBu_r", "Reds"  # no evidence is white in both


def measured(explanations: list[Explanations]) -> pd.DataFrame:
    """One row per map: panel, image, true class, class, cosine."""
    return pd.DataFrame(
        {
            "panel": panel.title,
            "image": image,
            "true_class": panel.class_names[panel.labels[image]],
            "class": name,
            "cosine": float(panel.cosines[image, k]),
        }
        for panel in explanations
        for image in range(len(panel.images))
        for k, name in enumerate(panel.class_names)
    )


@plots.styled
def draw(explanations: list[Explanations], item: dict) -> Figure:
    """One block per panel; rows are images, columns the image and its C maps.

    Raises: Refused for more classes than fit on a page.
    """
    figure, blocks = plots.blocks(item, [0.71 * len(panel.images) + 0.4 for panel in explanations])
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.02, wspace=0, hspace=0)
    for place, (block, panel) in enumerate(zip(blocks, explanations, strict=True)):
        if len(panel.class_names) > MOST_CLASSES:
            raise Refused(
                f"panel '{panel.title}' has {len(panel.class_names)} classes; an explanation grid "
                f"shows at most {MOST_CLASSES}; name another data set in the item"
            )
        block.suptitle(
            f"({chr(97 + place)}) {panel.title}; below a map: its cosine with the framed one, "
            "of the true class",
            x=0.005,
            ha="left",
            fontsize=8.5,
            fontweight="bold",
        )
        _grid(block, panel)
    return figure


def _grid(block: SubFigure, panel: Explanations) -> None:
    images, classes = panel.maps.shape[:2]
    grid = block.subplots(images, classes + 1, squeeze=False)
    low = -1 if panel.signed else 0
    colours = ScalarMappable(Normalize(low, 1), SIGNED if panel.signed else POSITIVE)
    for row in range(images):
        picture, size = panel.images[row].squeeze(), panel.images[row].shape[0]
        grid[row, 0].imshow(picture, cmap="gray", extent=(0, size, size, 0))
        largest = np.abs(panel.maps[row]).max() or 1
        for k, axes in enumerate(grid[row, 1:]):
            axes.imshow(
                panel.maps[row, k] / largest,
                cmap=colours.cmap,
                norm=colours.norm,
                extent=(0, size, size, 0),
                interpolation="bilinear" if panel.maps.shape[-1] < size else "nearest",
            )
            axes.set_xlabel(plots.two_decimals(panel.cosines[row, k]), labelpad=1.5, fontsize=6.5)
            if k == panel.labels[row]:
                axes.spines[:].set(visible=True, linewidth=2.2, color="#009E73")
                axes.xaxis.label.set_fontweight("bold")
            else:
                axes.spines[:].set(visible=True, linewidth=0.4, color="#999999")
    for axes, name in zip(grid[0], ["image", *panel.class_names], strict=True):
        axes.set_title(name, fontsize=6.5, pad=2)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    for axes in grid[:, 0]:
        axes.spines[:].set_visible(False)
    bar = block.colorbar(colours, ax=grid, fraction=0.02, pad=0.01, aspect=30)
    bar.set_ticks([-1, 0, 1][1 + low :], labels=["−1", "0", "1"][1 + low :], fontsize=6.5)
    bar.set_label("explanation / largest of the row", fontsize=6.5)
    bar.outline.set_linewidth(0.4)


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        found = arrays.explanations(snakemake.input.explanations, item["labels"])
        plots.save(draw(found, item), measured(found), snakemake.output)
