"""Oracle, Table 5: accuracy on Tiny-ImageNet and ImageNet, by teacher and student.

Protocol: validation images as test split, last epoch; mean and sample s.d. over seeds.
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    rows = ("dataset", "teacher", "network")
    return tables.accuracy_table(runs, printed, item, rows=rows)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build, "Table 5")
