"""LE, Table 1: what is in dark knowledge? Test accuracy of plain CNNs taught by CNN-10.

Protocol: test split, last epoch; mean and sample s.d. over student seeds; one fixed
teacher (A14).
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    return tables.accuracy_table(runs, printed, item)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build, "Table 1")
