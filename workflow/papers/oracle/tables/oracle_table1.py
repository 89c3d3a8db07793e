"""Oracle, Table 1: accuracy of the same network on x and on x*.

Protocol: un-augmented test images, then training images; x* from the true labels in one step; both
the gradient and the sign version (A48). Nothing is retrained on x*.
"""

import pandas as pd

from xkd.report import drawing, reinforced, tables


def build(responses: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """responses: one row per teacher, reinforcement and split."""
    blocks = [("top1", "test"), ("top1", "train")]
    return reinforced.response_table(responses, printed, item, blocks)


if __name__ == "__main__":
    drawing.draw_responses(snakemake, build, "Table 1")
