"""LE, Table 6: does the class similarity in explanations matter?

Protocol: test split of each data set, last epoch; mean and sample s.d. over seeds. Label smoothing
is not in the table; the paper's text compares it with LE-Permut.
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    return tables.accuracy_table(runs, printed, item)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build)
