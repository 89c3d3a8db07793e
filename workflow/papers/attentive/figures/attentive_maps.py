"""Explanations side by side: image, maps, and below each its own insertion and deletion curves.

Protocol: the first of the drawn test images of every run (several where there are fewer runs); the
class that the target predicts. Maps are scaled to [0, 1] each by itself. Curves: probability of
that class as 0 to 100 % of the pixels are inserted (solid) or deleted (dashed), most important
first; numbers are the two areas. What is not inserted is blurred, what is deleted has the mean
colour.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xkd.plan.runs import Run
from xkd.report import drawing, plots, saliency
from xkd.report.layout import label
from xkd.report.looks import BLUE, VERMILLION

ROWS = 4  # images
SHOWN = (
    "explanation_net", "levels_mean", "last_level", "rise", "lime", "gradcam", "grad",
    "integrated_gradients", "random",
)  # fmt: skip
TEXT = {"ha": "center", "va": "top", "fontsize": 6}
NAMES = {
    "explanation_net": "Explanation\nnetwork",
    "levels_mean": "Mean of\nlevels",
    "last_level": "Last\nlevel",
    "integrated_gradients": "Integrated\ngradients",
}


def chosen(found: list[tuple[Run, dict]]) -> list[tuple[Run, dict, int]]:
    """Images to draw: of the first seed of every cell, as many as there is room for."""
    first = {}
    for run, arrays in found:
        first.setdefault(run.cell, (run, arrays))
    runs = list(first.values())
    each = max(1, ROWS // len(runs))
    shown = [(run, a, n) for run, a in runs for n in range(min(each, len(a["images"])))]
    return shown[:ROWS] if len(runs) == 1 else shown


@plots.styled
def draw(found: list[tuple[Run, dict]], item: dict) -> Figure:
    """found: runs with the arrays of `saliency.npz`."""
    images = chosen(found)
    have = [name for name in SHOWN if f"{name}/maps" in images[0][1]]
    height = 0.5 + 1.42 * len(images)
    figure, grid = plots.panels(
        item,
        2 * len(images),
        1 + len(have),
        height,
        gridspec_kw={"height_ratios": [1, 0.8] * len(images)},
    )
    for row, (run, arrays, number) in enumerate(images):
        top, below = grid[2 * row], grid[2 * row + 1]
        _image(top[0], arrays, number)
        below[0].axis("off")
        about = _about(run, arrays, number, item)
        below[0].text(0.5, 0.95, about, transform=below[0].transAxes, **TEXT)
        for place, name in enumerate(have, 1):
            _map(top[place], arrays, name, number)
            _curves(below[place], arrays, name, number, first=place == 1)
            if row == 0:
                title = NAMES.get(name, saliency.name_of(name))
                top[place].set_title(title, fontsize=6.5, fontweight="bold")
    entries = [
        Line2D([], [], color=BLUE, label="insertion: higher is better"),
        Line2D([], [], color=VERMILLION, ls="--", label="deletion: lower is better"),
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=2)
    return figure


def _about(run: Run, arrays: dict, number: int, item: dict) -> str:
    names = arrays["class_names"]
    dataset = label(item["labels"], "dataset", run.cell.dataset)
    predicted, true = (names[arrays[kind][number]] for kind in ("classes", "labels"))
    return f"{dataset}\npredicted: {predicted}\nlabel: {true}"


def _image(axes: Axes, arrays: dict, number: int) -> None:
    image = arrays["images"][number]
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def _map(axes: Axes, arrays: dict, name: str, number: int) -> None:
    axes.imshow(arrays[f"{name}/maps"][number].astype(float), cmap="inferno", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def _curves(axes: Axes, arrays: dict, name: str, number: int, first: bool) -> None:
    for kind, color, dash in (("insertion", BLUE, "-"), ("deletion", VERMILLION, "--")):
        scores = arrays[f"{name}/{kind}_curve"][number].astype(float)
        axes.plot(np.linspace(0, 1, len(scores)), scores, dash, color=color, linewidth=0.9)
    areas = (arrays[f"{name}/{kind}"][number] for kind in ("insertion", "deletion"))
    axes.set_xlabel(" / ".join(f"{area:.2f}" for area in areas), fontsize=6, labelpad=1)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.tick_params(labelsize=5, labelleft=first, labelbottom=False, length=1.5)
    if first:
        axes.set_ylabel("p(class)", fontsize=6, labelpad=1)


def numbers(found: list[tuple[Run, dict]]) -> pd.DataFrame:
    """Areas under the curves that are drawn."""
    return pd.DataFrame(
        {"run": str(run), "image": int(arrays["chosen"][number]), "explanation": name}
        | {k: float(arrays[f"{name}/{k}"][number]) for k in ("insertion", "deletion")}
        for run, arrays, number in chosen(found)
        for name in SHOWN
        if f"{name}/maps" in arrays
    )


if __name__ == "__main__":
    with drawing.job(snakemake):
        found = saliency.read_images(snakemake.input.saliency_images)
        plots.save(draw(found, snakemake.params.item), numbers(found), snakemake.output)
