"""Oracle, Table 4: accuracy of students whose teacher has their own architecture.

Protocol: test split, last epoch; mean and sample s.d. over seeds. The paper prints the best test
epoch of one run, so the block "best test epoch" is the like-for-like comparison (A4).
"""

import pandas as pd

from xkd.report import drawing, tables
from xkd.report.results import of_slug

LIKE_FOR_LIKE = (
    "The paper prints the best test epoch of a single run: the best-epoch block is like for like."
)


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    own_kind = [
        teacher is None or of_slug(teacher)[0] == network
        for teacher, network in zip(runs.teacher, runs.network, strict=True)
    ]
    kept = runs[pd.Series(own_kind, index=runs.index, dtype=bool)]
    return tables.accuracy_table(kept, printed, item, notes=[LIKE_FOR_LIKE])


if __name__ == "__main__":
    drawing.draw_accuracies(snakemake, build, "Table 4")
