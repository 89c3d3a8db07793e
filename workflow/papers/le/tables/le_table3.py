"""LE, Table 3: test error of regularised MLPs on MNIST.

Protocol: test split, last epoch; mean and sample s.d. over seeds. The paper also quotes two other
works, which we show as it prints them and do not measure.
"""

import pandas as pd

from xkd.report import drawing, tables
from xkd.report.compare import compare

OWN = "own implementation"


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    errors = runs.assign(error=1 - runs.top1, best_error=1 - runs.best_top1)
    own = printed[printed.note == OWN].assign(note="")
    quoted = printed[printed.note.str.startswith("quoted from")]
    quoted = quoted.assign(source=quoted.note.str.removeprefix("quoted from "), note="")
    quoted = compare(errors.iloc[:0], quoted, "error", rows=("dataset", "source"))
    elsewhere = tables.Section("Quoted by the paper", quoted)
    return tables.accuracy_table(errors, own, item, metric="error", extra=[elsewhere])


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build)
