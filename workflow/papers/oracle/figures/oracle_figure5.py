"""Oracle, Figure 5: accuracy of every teacher and student pair, by method; one panel per student.

Protocol: test split, last epoch; mean and sample s.d. over seeds; a star marks the best mean of
each student; panels have the same length of scale. Hollow diamonds: last-epoch accuracy in the
authors' run records, which exist for their own method only.
"""

import pandas as pd
from matplotlib.figure import Figure

from xkd.report import curves, drawing, plots, published, results
from xkd.report.layout import label


@plots.styled
def draw(runs: pd.DataFrame, item: dict, printed: pd.DataFrame | None = None) -> Figure:
    """runs: one row per run; reads dataset, network, teacher, method, parameters, top1."""
    frame = curves.measured(runs, item, printed)
    students = curves.in_order(frame.network, runs)
    teachers = curves.in_order(frame.teacher, runs)
    columns = min(2, len(students))
    rows = -(-len(students) // columns)
    figure, grid = plots.panels(item, rows, columns, height=0.75 + 2.2 * rows)
    for place, axes in enumerate(grid.flat):
        if place >= len(students):
            axes.set_axis_off()
            continue
        name = label(item["labels"], "network", students[place])
        plots.name_panel(axes, place, f"student {name}")
        curves.draw_methods(axes, frame[frame.network == students[place]], teachers, item)
        plots.percent(axes, "Test accuracy (%)")
        axes.set_xlabel("Teacher")
    plots.same_span([axes for axes in grid.flat if axes.axison])
    plots.legend(figure, curves.legend_entries(frame, item))
    return figure


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = snakemake.params.item
        runs = results.read_cells(snakemake.input.cells, item)
        printed = published.beside(snakemake.input, item, "student json (Figure 5)")
        data = curves.measured(runs, item, printed)
        plots.save(draw(runs, item, printed), data, snakemake.output)
