"""Oracle, Table 2: expected calibration error of a network on x and on x*.

    ECE = Σ_b (|b| / N) · |acc(b) − conf(b)|      Oracle, Eq. 5

Protocol: softmax at T = 1, not calibrated; equal-width bins, 20 (as in the authors' notebook) and
15 (the common convention); un-augmented test images, then training images (A47).
"""

import pandas as pd

from xkd.report import drawing, reinforced, tables

BLOCKS = [("ece", "test"), ("ece15", "test"), ("ece", "train")]


def build(responses: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """responses: one row per teacher, reinforcement and split, with the teacher's parameters."""
    size = reinforced.parameter_section(responses, printed[printed.metric == "parameters"])
    errors = printed[printed.metric != "parameters"]
    return reinforced.response_table(responses, errors, item, BLOCKS, extra=[size])


if __name__ == "__main__":
    drawing.draw_responses(snakemake, build, "Table 2")
