"""A table that its entry in the config lays out: networks in rows, methods in columns.

The entry may say `metric` (top1 or error), `rows` and `protocol`.
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    metric = item.get("metric", "top1")
    if metric == "error":
        runs = runs.assign(error=1 - runs.top1, best_error=1 - runs.best_top1)
    rows = tuple(item.get("rows", ("dataset", "network")))
    return tables.accuracy_table(runs, printed, item, metric=metric, rows=rows)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build)
