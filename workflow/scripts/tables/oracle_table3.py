"""Oracle, Table 3: entropy of a teacher's softened predictions on x and on x*.

    H = (1/N) Σ_i −Σ_k q_ik · log2 q_ik,   q = softmax(z / 4)

Protocol: T = 4, un-augmented test images (then training images), mean over images. The paper's two
column groups are swapped, and compared with the data set that they belong to.
"""

import pandas as pd

from xkd.report import job, published, reinforced, results, tables

#: The data set that a printed column group belongs to.
BELONGS = {"CIFAR-10 (as printed)": "CIFAR-100", "CIFAR-100 (as printed)": "CIFAR-10"}
SWAPPED = (
    "The paper prints the two groups under each other's heading: values up to 5.39 bits stand "
    "under CIFAR-10, whose ten classes allow log2(10) = 3.32 bits at most. Here each group stands "
    "with the data set it belongs to."
)


def build(responses: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """responses: one row per teacher, reinforcement and split."""
    swapped = printed.assign(dataset=printed.dataset.map(BELONGS).fillna(printed.dataset))
    named = swapped.dataset.map(published.inverse(item["labels"]["datasets"]))
    blocks = [("entropy_bits", "test"), ("entropy_bits", "train")]
    return reinforced.response_table(
        responses,
        swapped.assign(dataset=named, note=""),
        item,
        blocks,
        notes=[SWAPPED, reinforced.SIGN],
    )


if __name__ == "__main__":
    with job.logged(snakemake.log):
        item = snakemake.params.item
        responses = results.read_responses(snakemake.input.responses)
        printed = published.load(snakemake.input.published, item["labels"], "Table 3")
        tables.save(build(responses, printed, item), snakemake.output)
