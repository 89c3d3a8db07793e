"""Oracle, Figure 1b: accuracy of one student as its teacher grows.

Protocol: test split, last epoch; mean and sample s.d. over seeds. The paper does not name the
student; ours is the smallest (A46).
"""

import pandas as pd
from matplotlib.figure import Figure

from xkd.report import curves, drawing, plots, published, results
from xkd.report.layout import label


def of_one_student(runs: pd.DataFrame, item: dict) -> pd.DataFrame:
    """The runs taught by another run; the student is the item's, or else the smallest."""
    taught = runs[runs.teacher.notna()]
    student = item.get("settings", {}).get("student") or curves.in_order(taught.network, runs)[0]
    return taught[taught.network == student]


@plots.styled
def draw(runs: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None) -> Figure:
    """runs: one row per run; reads dataset, network, teacher, method, parameters, top1."""
    chosen = of_one_student(runs, item)
    frame = curves.measured(chosen, item, printed)
    figure, axes = plots.panels(item, 1, 1, height=3.1)
    curves.draw_methods(axes[0, 0], frame, curves.in_order(frame.teacher, runs), item)
    student = label(item["labels"], "network", chosen.network.iloc[0])
    plots.percent(axes[0, 0], f"Test accuracy of {student} (%)")
    axes[0, 0].set_xlabel("Teacher, from small to large")
    shown = {"title": item.get("settings", {}).get("legend"), "title_fontsize": 7}
    figure.legend(handles=curves.legend_entries(frame, item), loc="outside right center", **shown)
    return figure


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        runs = results.read_cells(snakemake.input.cells, item)
        printed = published.beside(snakemake.input, item, "student json (Figure 5)")
        data = curves.measured(of_one_student(runs, item), item, printed)
        plots.save(draw(runs, item, printed), data, snakemake.output)
