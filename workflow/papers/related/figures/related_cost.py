"""Related, Figure 1: accuracy against the cost of training, one panel per pair of networks.

Protocol: test split, last epoch; mean and sample s.d. over seeds. Cost is the time that training
took, over that of cross-entropy under the first recipe of the table, same student, same machine:
epochs, second views and live teachers are in it, the training of the teacher and its table of
logits are not. Runs on another kind of device, or by another backend, than those of cross-entropy
have no cost.
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from xkd.plan.runs import Cell
from xkd.records import cards
from xkd.report import drawing, looks, plots, results
from xkd.report.layout import column_names, label

PAIR = ["dataset", "teacher", "network"]
BASELINE = "ce"  # family of the method whose time is 1


def timed(runs: pd.DataFrame, files: list[Path]) -> pd.DataFrame:
    """runs, with `seconds` of training and the `device` that took them, from the run cards.

    Args:
        runs: one row per run; files: `cell.json` of each cell.
    """
    folders = {}
    for file in files:
        for card in map(cards.read, (path.parent for path in file.parent.glob("seed*/run.yaml"))):
            circumstances = card.get("engine", {})
            device = f"{circumstances.get('device')}, {circumstances.get('backend')}"
            folders[card["run"]] = card.get("seconds"), device
    keys = [
        str(Cell(row.dataset, row.network, row.method, row.teacher).run(row.seed))
        for row in runs.itertuples()
    ]
    found = [folders.get(key, (None, None)) for key in keys]
    return runs.assign(
        seconds=pd.Series([seconds for seconds, _ in found], index=runs.index, dtype=float),
        device=[device for _, device in found],
    )


def measured(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and relative cost per pair of networks and method; a pair's baseline costs 1.

    Args:
        runs: as `timed` returns them; those without teacher are the baselines of every pair of
            their network.
    Returns: columns of PAIR, method, n, mean, std (fractions), cost (NaN where it is not known).
    """
    taught = results.with_plain_teachers(runs[runs.teacher.notna()])
    alone = runs[runs.teacher.isna()]
    rows = []
    for pair, students in taught.groupby(PAIR, sort=False):
        own = alone[(alone.dataset == pair[0]) & (alone.network == pair[2])]
        baseline = own[own.method.map(looks.family) == BASELINE]
        both = pd.concat([baseline, students])
        for method, some in both.groupby("method", sort=False):
            row = dict(zip(PAIR, pair, strict=True)) | {"method": method, "n": len(some)}
            alike = set(some.device) == set(baseline.device) and len(set(some.device)) == 1
            cost = some.seconds.mean() / baseline.seconds.mean() if alike else float("nan")
            rows.append(row | {"mean": some.top1.mean(), "std": some.top1.std(), "cost": cost})
    return pd.DataFrame(rows, columns=[*PAIR, "method", "n", "mean", "std", "cost"])


@plots.styled
def draw(frame: pd.DataFrame, item: dict) -> Figure:
    """frame: as `measured` returns it."""
    pairs = list(dict.fromkeys(frame[PAIR].itertuples(index=False, name=None)))
    columns = min(2, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, grid = plots.panels(item, rows, columns, height=1.1 + 2.3 * rows)
    methods = looks.ordered(frame.method)
    for place, axes in enumerate(grid.flat):
        if place >= len(pairs):
            axes.set_axis_off()
            continue
        names = (label(item["labels"], "network", name) for name in pairs[place][1:])
        plots.name_panel(axes, place, " → ".join(names))
        part = frame[[pair == pairs[place] for pair in zip(*map(frame.get, PAIR), strict=True)]]
        for row in part.dropna(subset="cost").itertuples():
            spread = 0 if pd.isna(row.std) else row.std
            axes.errorbar(row.cost, row.mean, spread, capsize=2, **_style(row.method, methods))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("Training time (CE = 1)")
        plots.percent(axes, "Test accuracy (%)")
    names = column_names(methods, item["labels"])
    for method, name in zip(methods, names, strict=True):
        grid[0, 0].errorbar([], [], [], label=name, **_style(method, methods))
    plots.legend(figure, grid[0, 0].get_legend_handles_labels()[0])
    return figure


def _style(method: str, among: list[str]) -> dict[str, object]:
    """Marker without line; hollow where an earlier method has the same look."""
    look = looks.look(method)
    style: dict[str, object] = {"color": look.color, "marker": look.marker, "linestyle": "none"}
    if look in [looks.look(other) for other in among[: among.index(method)]]:
        style["markerfacecolor"] = "white"
    return style


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        runs = results.read_cells(snakemake.input.cells, item)
        frame = measured(timed(runs, results.paths(snakemake.input.cells)))
        plots.save(draw(frame, item), frame, snakemake.output)
