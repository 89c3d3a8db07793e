"""LE, Table 4: test accuracy of ResNets that learn from a peer of the same structure.

Protocol: test split, last epoch; mean and sample s.d. over seeds; BAN of seed s learns
from the CE run of seed s (A14), DML reports its first network (A30).
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    return tables.accuracy_table(runs, printed, item)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build, "Table 4")
