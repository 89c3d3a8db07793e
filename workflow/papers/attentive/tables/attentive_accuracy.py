"""Accuracy of target and student, and how often they agree.

Protocol: all test images, last epoch. Agreement: share of images for which student and target
predict one class, on the images and on images with a random share of their pixels blurred or set
to the mean colour, as explanations are scored; the printed table has neither. Where they disagree
the surrogate explains another network than the target.
"""

import numpy as np
import pandas as pd

from xkd.report import caveats, drawing, published, saliency, saliency_tables, tables
from xkd.report.layout import MISSING, Block, Cell, Line, Row, label, seeds, signed

COLUMNS = {
    "target_top1": "Target",
    "student_top1": "Student",
    "plain": "Agreement",
    "perturbed": "Agreement, perturbed",
}
PRINTED = {"target_top1": "none", "student_top1": "attentive distillation"}


def build(agreement: pd.DataFrame, printed: pd.DataFrame, item: dict) -> tables.Table:
    """agreement: one row per run; reads the identity and the keys of COLUMNS, fractions."""
    groups = agreement.groupby(saliency.PLACE, sort=False)
    rows, tidy = [], []
    for place, runs in groups:
        dataset, network = place[:2]
        theirs = [_printed(printed, dataset, column) for column in COLUMNS]
        if caveats.differs(item):
            theirs = [np.nan] * len(theirs)
        means, spreads = runs[list(COLUMNS)].mean(), runs[list(COLUMNS)].std(ddof=1)
        cells = [Cell(_percent(means[c], spreads[c])) for c in COLUMNS]
        lines = [Line(f"ours ({seeds([len(runs)])})", tuple(cells))]
        if not np.isnan(theirs).all():
            lines.append(Line("published", tuple(Cell(_percent(v)) for v in theirs)))
            gaps = [100 * (means[c] - v) for c, v in zip(COLUMNS, theirs, strict=True)]
            shown = (Cell(MISSING if np.isnan(g) else signed(g, 2)) for g in gaps)
            lines.append(Line("difference", tuple(shown)))
        names = label(item["labels"], "dataset", dataset), label(item["labels"], "network", network)
        rows.append(Row(names, tuple(lines)))
        tidy.append({**dict(zip(saliency.PLACE, place, strict=True)), "n": len(runs), **means})
    block = Block("Test images (%)", ("Data set", "Student"), tuple(COLUMNS.values()), tuple(rows))
    return saliency_tables.assembled([block, *_parts(agreement, item)], pd.DataFrame(tidy), item)


def _printed(printed: pd.DataFrame, dataset: str, column: str) -> float:
    found = printed[(printed.dataset == dataset) & (printed.metric == "top1_accuracy")]
    found = found[found.method == PRINTED.get(column)]
    return float(found.value.iloc[0]) if len(found) else np.nan


def _percent(value: float, spread: float = np.nan) -> str:
    if np.isnan(value):
        return MISSING
    return f"{100 * value:.2f}" + ("" if np.isnan(spread) else f" ± {100 * spread:.2f}")


def _parts(agreement: pd.DataFrame, item: dict) -> list[Block]:
    """Agreement level by level, and what the networks weigh."""
    blocks, labels = [], item["labels"]
    for place, runs in agreement.groupby(saliency.PLACE, sort=False):
        levels = np.array(runs.levels.tolist())
        first = runs.iloc[0]
        numbers = [f"{100 * mean:.2f}" for mean in levels.mean(0)]
        numbers += [f"{first[f'parameters_{part}']:,}" for part in ("target", "student")]
        numbers.append(f"{first.parameters_explainer:,}")
        columns = [f"Level {number}" for number in range(1, levels.shape[1] + 1)]
        columns += ["Target, parameters", "Student, parameters", "of these E"]
        name = label(labels, "dataset", place[0])
        row = Row((name,), (Line(f"ours ({seeds([len(runs)])})", tuple(map(Cell, numbers))),))
        title = "Agreement of every level with the target (%), and sizes"
        blocks.append(Block(title, ("Data set",), tuple(columns), (row,)))
    return blocks


if __name__ == "__main__":
    with drawing.job(snakemake):
        item = dict(snakemake.params.item)
        printed = published.load(snakemake.input.get("published"), item["labels"])
        agreement = saliency.read_agreement(snakemake.input.agreement)
        tables.save(build(agreement, printed, item), snakemake.output)
