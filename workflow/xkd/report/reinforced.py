"""Teachers on x and on x*: labels of the reinforcements, and the tables about them (Oracle 1-3)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from xkd.report import published
from xkd.report.compare import compare
from xkd.report.layout import Labels
from xkd.report.results import code_notes
from xkd.report.tables import Section, Table, assemble

ORIGINAL = "gradient-0"
#: Printed column -> kind of x*; the gradient version reaches neither Table 1 nor Table 3 (A48).
PRINTED = {"Scratch (x)": "original", "Original data (x)": "original"}
PRINTED |= {"Oracle (x*)": "sign", "Reinforced data (x*)": "sign"}
#: Table 3: the data set that a printed column group belongs to.
BELONGS = {"CIFAR-10 (as printed)": "CIFAR-100", "CIFAR-100 (as printed)": "CIFAR-10"}
SWAPPED = (
    "The paper prints the two groups under each other's heading: values up to 5.39 bits stand "
    "under CIFAR-10, whose ten classes allow log2(10) = 3.32 bits at most. Here each group stands "
    "with the data set it belongs to."
)
UNSTATED = "x* (γ unstated)"
LABELLED = (
    "x* is computed from the true labels, so its numbers describe no classifier that could be used."
)
SIGN = (
    "The paper states neither γ nor the split of x*. Beside its x* column stands the sign version, "
    "x − γ′·|x|·sign(g), which comes closest in accuracy and entropy (A48); students are taught by "
    "the gradient version."
)


def name(kind: str, gamma: float) -> str:
    """`x`, `x*, γ = 0.5`, `x*, sign, γ′ = 2/255`."""
    if gamma == 0:
        return "x"
    if kind == "gradient":
        return f"x*, γ = {gamma:g}"
    levels = gamma * 255  # one grey level of the normalised unit scale
    whole = abs(levels - round(levels)) < 0.01 and round(levels) > 0
    return f"x*, {kind}, γ′ = {f'{round(levels)}/255' if whole else f'{gamma:g}'}"


def columns_of(responses: pd.DataFrame) -> dict[str, str]:
    """Reinforcement key -> label: x, then sign, then gradient versions by growing γ."""
    distinct = responses.drop_duplicates("reinforcement")
    distinct = distinct.assign(sign=(distinct.kind != "sign") & (distinct.gamma != 0))
    distinct = distinct.sort_values(["sign", "gamma"])
    return {row.reinforcement: name(row.kind, row.gamma) for row in distinct.itertuples()}


def response_table(
    responses: pd.DataFrame,
    printed: pd.DataFrame,
    item: Mapping[str, Any],
    blocks: Sequence[tuple[str, str]],
    extra: Iterable[Section] = (),
    notes: Iterable[str] = (),
) -> Table:
    """Networks in rows, x and every x* in columns.

    Args:
        responses: as `results.read_responses` gives it; n counts teachers of other seeds.
        printed: as `published.load` gives it; beside the blocks of the test split only.
        blocks: (metric, split) of each block, the one to be compared with print first.
    """
    columns = columns_of(responses) if len(responses) else {}
    comparable = published.comparable(item)
    signs = [key for key in columns if key.startswith("sign")] if comparable else []
    sign = signs[0] if signs else UNSTATED
    places = {"original": ORIGINAL, "sign": sign}
    beside = printed.assign(
        method=printed.method.map(lambda text: places.get(PRINTED.get(text, ""), text))
    )
    answers = responses.assign(method=responses.reinforcement)
    sections = []
    for metric, split in blocks:
        part = answers[answers.split == split]
        if len(part) or split == "test":
            known = beside if split == "test" else beside.iloc[:0]
            frame = compare(part, known, metric).assign(split=split)
            sections.append(Section(f"{split.capitalize()} images", frame, tuple(columns)))
    labels = {**item["labels"], "methods": {**item["labels"].get("methods", {}), **columns}}
    labels["methods"].setdefault(ORIGINAL, "x")
    notes = [LABELLED, *([SIGN] if signs else []), *notes, *code_notes(responses)]
    return assemble([*sections, *extra], {**item, "labels": labels}, notes)


def unswapped(printed: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Table 3 with each column group under the data set it belongs to; see `SWAPPED`."""
    right = printed.dataset.map(BELONGS).fillna(printed.dataset)
    ours = right.map(published.inverse(labels["datasets"]))
    return printed.assign(dataset=ours, note="")


def parameter_section(responses: pd.DataFrame, printed: pd.DataFrame) -> Section:
    """Trainable parameters, ours and as printed."""
    one = responses.drop_duplicates(["dataset", "network"]).assign(method="parameters")
    return Section("Size", compare(one, printed.assign(method="parameters"), "parameters"))
