"""Which number format of training made a number is told, and a mean over two of them is named."""

from synthetic_results import write_cell

from xkd.files import write_yaml
from xkd.report import results


def with_cards(path, precisions):
    """Cards beside a manifest, as training leaves them."""
    for seed, precision in precisions.items():
        card = path.parent / f"seed{seed}" / "run.yaml"
        card.parent.mkdir(exist_ok=True)
        write_yaml(card, {"engine": {"precision": precision}, "files": {}})
    return path


def cell_in(tmp_path, text, *precisions):
    seeds = dict(enumerate(precisions))
    path = write_cell(tmp_path, text, {s: {"top1": 0.9} for s in seeds}, dict.fromkeys(seeds, "a"))
    return with_cards(path, seeds)


def precision_notes(*files):
    return results.precision_notes(results.read_cells(files))


def test_a_mean_over_two_number_formats_says_so(tmp_path):
    mixed = cell_in(tmp_path, "cifar10/resnet8/ce", "bf16", "float32", "bf16")
    assert precision_notes(mixed) == [
        "The mean of cifar10/resnet8/ce mixes number formats (bf16: seed 0, 2; float32: seed 1).",
        "Trained in bf16, unlike the others: cifar10/resnet8/ce.",
    ]


def test_the_number_format_of_training_is_told_unless_it_is_float32(tmp_path):
    half = [cell_in(tmp_path, f"d/n/{method}", "bf16", "bf16") for method in ("ce", "le")]
    single = cell_in(tmp_path, "d/n/dropout", "float32")
    assert precision_notes(*half) == ["All trained in bf16."]
    assert precision_notes(*half, single) == ["Trained in bf16, unlike the others: d/n/ce, d/n/le."]
    assert precision_notes(single) == []


def test_nothing_is_said_of_a_number_format_that_no_card_names(tmp_path):
    path = write_cell(tmp_path, "d/n/ce", {0: {"top1": 0.9}}, {0: "a"})
    assert results.read_cells(path).precision.tolist() == [None]
    assert precision_notes(path) == []
