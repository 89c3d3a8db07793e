"""How much dark knowledge the teacher of LE, Table 1, has to give.

    confidence = max_k softmax(z)_k at T = 1, which is also the weight that CWTM gives a sample

Protocol: un-augmented images of both splits, 20 equal-width bins (left, right]; one line of panels
per teacher. (a) how the images spread over confidence; (b) the share of each bin whose arg-max is
the label, with Wilson's 95 % interval over its images; bins of fewer than ten are not drawn there.
One seed. A teacher that is right and sure about
all training images passes on little beyond the label.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xkd.report import drawing, plots, reinforced, results
from xkd.report.layout import label
from xkd.report.looks import BLUE, GREY, VERMILLION

SPLITS = {
    "train": ("training images", BLUE, "-", "o"),
    "test": ("test images", VERMILLION, "--", "s"),
}
FEWEST = 10  # images of a bin whose share says something


def measured(responses: pd.DataFrame) -> pd.DataFrame:
    """One row per teacher, split and bin: edges, share of images, confidence, accuracy, count.

    `argmax_is_label` is the share over the whole split.
    """
    tables = []
    for row in responses[responses.reinforcement == reinforced.ORIGINAL].itertuples():
        bins = row.reliability
        table = pd.DataFrame({name: bins[name] for name in ("confidence", "accuracy", "count")})
        table.insert(0, "right", bins["edges"][1:])
        table.insert(0, "left", bins["edges"][:-1])
        counts = table["count"]
        means = table.confidence.astype(float).fillna(0)
        who = {"dataset": row.dataset, "network": row.network, "seed": row.seed, "split": row.split}
        tables.append(
            table.assign(
                **who,
                share=counts / counts.sum(),
                mean_confidence=(counts * means).sum() / counts.sum(),
                argmax_is_label=row.top1,
            )
        )
    return pd.concat(tables, ignore_index=True)


def wilson(share: pd.Series, count: pd.Series, z: float = 1.96) -> tuple[pd.Series, pd.Series]:
    """Bounds of a share of `count` images (Wilson 1927)."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return middle - half, middle + half


@plots.styled
def draw(responses: pd.DataFrame, item: dict) -> Figure:
    """responses: as `results.read_responses` gives it."""
    teachers = measured(responses).groupby(["dataset", "network", "seed"], sort=False)
    figure, grid = plots.panels(item, len(teachers), 2, height=0.4 + 2.6 * len(teachers))
    for (spread, right), ((dataset, network, _), rows) in zip(grid, teachers, strict=True):
        place = 2 * list(grid[:, 0]).index(spread)
        teacher = f"{label(item['labels'], 'network', network)} on "
        teacher += label(item["labels"], "dataset", dataset)
        plots.name_panel(spread, place, f"{teacher}: confidence")
        plots.name_panel(right, place + 1, "accuracy where it is so sure")
        for split, bins in rows.groupby("split", sort=False):
            _split(spread, right, split, bins)
        spread.set(xlabel="Confidence of the teacher (%)", ylim=(0, None))
        right.plot([0, 1], [0, 1], ":", color=GREY, linewidth=0.9, label="as right as sure")
        right.set(xlabel="Confidence of the teacher (%)", ylim=(0, 1.03))
        plots.percent(spread, "Images (%)")
        plots.percent(right, "Accuracy (%)")
        for axes in (spread, right):
            axes.set_xlim(0, 1)
            axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=""))
        spread.legend(loc="upper left")
        right.legend(loc="upper left")
    return figure


def _split(spread: Axes, right: Axes, split: str, bins: pd.DataFrame) -> None:
    name, color, dash, marker = SPLITS[split]
    first = bins.iloc[0]
    name += f"\nmean {100 * first.mean_confidence:.1f} %"
    name += f", arg-max right {100 * first.argmax_is_label:.1f} %"
    edges = [*bins.left, bins.right.iloc[-1]]
    spread.stairs(bins.share, edges, color=color, linestyle=dash, linewidth=1.4, label=name)
    enough = bins[bins["count"] >= FEWEST]
    confidence = enough.confidence.astype(float)
    accuracy = enough.accuracy.astype(float)
    low, high = wilson(accuracy, enough["count"])
    bars = np.clip([accuracy - low, high - accuracy], 0, None)
    right.errorbar(confidence, accuracy, bars, ls="none", marker=marker, color=color, capsize=1.5,
                   elinewidth=0.7)  # fmt: skip


if __name__ == "__main__":
    with drawing.job(snakemake):
        responses = results.read_responses(snakemake.input.responses)
        plots.save(draw(responses, snakemake.params.item), measured(responses), snakemake.output)
