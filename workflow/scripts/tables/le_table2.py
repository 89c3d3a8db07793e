"""LE, Table 2: test accuracy of regularised ResNets.

Protocol: test split, last epoch; mean and sample s.d. over seeds. Hyper-parameters are searched on
the hold-out split; columns with a value in brackets use the winner that the paper prints.
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    return tables.accuracy_table(runs, printed, item)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build, "Table 2")
