"""Oracle, Table 4: accuracy of students whose teacher has their own architecture.

Protocol: test split, last epoch; mean and sample s.d. over seeds. The paper prints the best test
epoch of one run, so the block "best test epoch" is the like-for-like comparison (A4).
"""

import pandas as pd

from xkd.report import job, published, results, tables

LIKE_FOR_LIKE = (
    "The paper prints the best test epoch of a single run: the best-epoch block is like for like."
)


def build(runs: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """runs: one row per run; reads dataset, network, method, teacher, seed, top1, best_top1."""
    own_kind = runs.teacher.isna() | (runs.teacher.str.partition("-")[0] == runs.network)
    return tables.accuracy_table(runs[own_kind], printed, item, notes=[LIKE_FOR_LIKE])


if __name__ == "__main__":
    with job.logged(snakemake.log):
        item = snakemake.params.item
        runs = results.read_cells(snakemake.input.cells)
        printed = published.load(
            snakemake.input.published, item["labels"], "Table 4", item.get("methods", ())
        )
        tables.save(build(runs, printed, item), snakemake.output)
