"""Oracle, Table 3: entropy of a teacher's softened predictions on x and on x*.

    H = (1/N) Σ_i −Σ_k q_ik · log2 q_ik,   q = softmax(z / 4)

Protocol: T = 4, un-augmented test images (then training images), mean over images. The paper's two
column groups are swapped, and compared with the data set that they belong to.
"""

import pandas as pd

from xkd.report import drawing, reinforced, tables


def build(responses: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """responses: one row per teacher, reinforcement and split."""
    right = reinforced.unswapped(printed, item["labels"])
    blocks = [("entropy_bits", "test"), ("entropy_bits", "train")]
    notes = [reinforced.SWAPPED]
    return reinforced.response_table(responses, right, item, blocks, notes=notes)


if __name__ == "__main__":
    drawing.draw_responses(snakemake, build, "Table 3")
