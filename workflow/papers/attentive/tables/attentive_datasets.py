"""Data sets: classes and numbers of images.

Protocol: counted in the prepared files. FGVC-Aircraft's train and val are learnt from together; the
published validation images of ImageNet are its test images.
"""

import numpy as np
import pandas as pd

from xkd.report import drawing, published, saliency, saliency_tables, tables
from xkd.report.layout import MISSING, Block, Cell, Line, Row, label

COLUMNS = {"classes": "Classes", "counts_train": "Training images", "counts_test": "Test images"}
PRINTED = {
    "classes": ["n_classes"],
    "counts_train": ["n_train"],
    "counts_test": ["n_test", "n_val"],
}


def build(found: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """found: one row per run; data sets are counted once."""
    once = found.drop_duplicates("dataset")
    rows = []
    for counts in once.to_dict("records"):
        ours = tuple(Cell(f"{counts[column]:,}") for column in COLUMNS)
        theirs = [_printed(printed, counts["dataset"], names) for names in PRINTED.values()]
        lines = [Line("ours", ours)]
        if not np.isnan(theirs).all():
            cells = (MISSING if np.isnan(v) else f"{int(v):,}" for v in theirs)
            lines.append(Line("published", tuple(map(Cell, cells))))
        rows.append(Row((label(item["labels"], "dataset", counts["dataset"]),), tuple(lines)))
    block = Block("Counts", ("Data set",), tuple(COLUMNS.values()), tuple(rows))
    return saliency_tables.assembled([block], once[["dataset", *COLUMNS]], item)


def _printed(printed: pd.DataFrame, dataset: str, metrics: list[str]) -> float:
    """The first of these that is printed of the data set."""
    rows = printed[printed.dataset == dataset]
    values = [rows[rows.metric == metric].value for metric in metrics]
    return next((float(v.iloc[0]) for v in values if len(v)), np.nan)


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = dict(snakemake.params.item)
        printed = published.load(snakemake.input.get("published"), item["labels"])
        found = saliency.read_agreement(snakemake.input.agreement)
        tables.save(build(found, printed, item), snakemake.output)
