"""Entropy of a teacher's softened predictions as γ grows: Oracle, Table 3, for a whole sweep.

    H = (1/N) Σ_i −Σ_k q_ik · log2 q_ik,   q = softmax(z / 4)

Protocol: un-augmented test images, T = 4, mean over images; wide panels: gradient version of x*,
narrow ones: sign version (A48). Axes span a tenth of the possible entropy at least. Hollow
diamonds: Table 3, its swapped column groups put right, the reinforced row beside the sign version.
"""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xkd.report import drawing, plots, published, reinforced, results
from xkd.report.layout import label
from xkd.report.looks import BLACK, NETWORKS


def measured(responses: pd.DataFrame) -> pd.DataFrame:
    """Mean over teacher seeds per data set, network, kind and γ; bits."""
    test = responses[responses.split == "test"]
    key = ["dataset", "network", "kind", "gamma"]
    frame = test.groupby(key, sort=False).entropy_bits.agg(n="count", mean="mean", std="std")
    return frame.reset_index().rename(columns={"mean": "entropy_bits"})


@plots.styled
def draw(responses: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None) -> Figure:
    """responses: as `results.read_responses` gives it."""
    frame = measured(responses)
    datasets = list(dict.fromkeys(frame.dataset))
    widths = [3.2, 1] * len(datasets)
    figure, grid = plots.panels(item, 1, len(widths), height=3.1, width_ratios=widths)
    networks = list(dict.fromkeys(frame.network))
    for place, dataset in enumerate(datasets):
        wide, narrow = grid[0, 2 * place : 2 * place + 2]
        narrow.sharey(wide)
        most = _most_bits(responses, dataset)
        name = label(item["labels"], "dataset", dataset)
        plots.name_panel(wide, place, name + (f", of at most {most:.2f} bits" if most else ""))
        for number, network in enumerate(networks):
            rows = frame[(frame.dataset == dataset) & (frame.network == network)]
            theirs = None
            if printed is not None:
                theirs = printed[(printed.dataset == dataset) & (printed.network == network)]
            _network(wide, narrow, rows, number, theirs)
        plots.gamma_axis(wide, frame[frame.kind == "gradient"].gamma)
        wide.set(xlabel="Step size γ (linear, then log)", ylabel="Mean entropy at T = 4 (bits)")
        _least_span(wide, most)
        narrow.tick_params(labelleft=False)
        narrow.set(xlabel="sign, γ′")
    entries = [
        Line2D([], [], color=color, marker=marker, label=label(item["labels"], "network", name))
        for name, (color, marker) in zip(networks, NETWORKS, strict=False)
    ]
    if printed is not None:
        hollow = {"marker": "D", "ls": "", "markerfacecolor": "none", "color": BLACK}
        entries.append(Line2D([], [], label="published (Table 3)", **hollow))
    plots.legend(figure, entries)
    return figure


def _most_bits(responses: pd.DataFrame, dataset: str) -> float:
    """log2 of the number of classes; 0 where the responses do not say it."""
    if "classes" not in responses:
        return 0.0
    return math.log2(responses.classes[responses.dataset == dataset].iloc[0])


def _least_span(axes: Axes, most: float) -> None:
    """Let the axis span a tenth of what entropy can be, so that a flat line looks flat."""
    low, high = axes.get_ylim()
    half = max(high - low, 0.1 * most) / 2
    axes.set_ylim((low + high) / 2 - half, (low + high) / 2 + half)


def _network(
    wide: Axes, narrow: Axes, rows: pd.DataFrame, number: int, printed: pd.DataFrame | None
) -> None:
    color, marker = NETWORKS[number % len(NETWORKS)]
    line = rows[rows.kind == "gradient"].sort_values("gamma")
    wide.errorbar(line.gamma, line.entropy_bits, line["std"].fillna(0), color=color, marker=marker)
    signs = rows[rows.kind == "sign"].sort_values("gamma")
    places = range(len(signs))
    narrow.plot(places, signs.entropy_bits, marker, color=color)
    names = [reinforced.name("sign", gamma).rpartition("= ")[2] for gamma in signs.gamma]
    narrow.set_xticks(places, names)
    narrow.set_xlim(-0.7, max(len(signs), 1) - 0.3)
    if printed is not None:
        hollow = {"markersize": 7, "markerfacecolor": "none", "color": color, "zorder": 5}
        for row in printed.itertuples():
            original = reinforced.PRINTED.get(row.method) == "original"
            (wide if original else narrow).plot(0, row.value, "D", clip_on=False, **hollow)


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        responses = results.read_responses(snakemake.input.responses)
        printed = published.beside(snakemake.input, item, "Table 3")
        if printed is not None:
            printed = reinforced.unswapped(printed, item["labels"])
        plots.save(draw(responses, item, printed), measured(responses), snakemake.output)
