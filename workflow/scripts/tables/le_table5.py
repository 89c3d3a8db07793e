"""LE, Table 5: test accuracy of ResNets that learn from a stronger teacher, ResNet26.

Protocol: test split, last epoch; mean and sample s.d. over student seeds; one fixed
teacher (A14); TAKD's assistant is trained once per seed.
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    return tables.accuracy_table(runs, printed, item)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build, "Table 5")
