"""Points that the papers leave open, tried both ways: test accuracy by variant.

Protocol: test split, last epoch; mean and sample s.d. over seeds. Nothing of it is printed in a
paper, and nothing of it decides a default: those are fixed beforehand (README, deviations).
"""

import pandas as pd

from xkd.report import drawing, tables


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, seed, top1, best_top1."""
    return tables.accuracy_table(runs, printed, item)


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build)
