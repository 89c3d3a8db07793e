"""From manifests to tables: reading, comparing, laying out, writing."""

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from synthetic_results import (
    LABELS,
    NOTICE,
    ROOT,
    item,
    printed_file,
    responses,
    runs,
    script,
    write_cell,
)

from xkd.errors import Refused
from xkd.files import write_json
from xkd.plan import config
from xkd.report import drawing, published, render, results, tables
from xkd.report.compare import compare, rank_correlation

ITEMS = config.load(ROOT / "config.yaml")["tables"]
TABLES = sorted(
    name
    for name, entry in ITEMS.items()
    if "published" in entry and entry["paper"] in ("le", "oracle")
)
CSV = {name: printed_file(name) for name in TABLES}  # one name follows an item everywhere
TABLE2 = {
    f"cifar10/{network}/{method}": mean
    for network, means in {"resnet14": (0.9026, 0.9121), "resnet8": (0.8795, 0.8890)}.items()
    for method, mean in zip(("ce", "le_gradcam"), means, strict=True)
}


def printed(name: str) -> pd.DataFrame:
    number = name.rpartition("table")[2]
    return published.load(CSV[name], LABELS, None if name == "le_table3" else f"Table {number}")


def build(name: str, frame: pd.DataFrame, scale: str = "paper", **more: object) -> tables.Table:
    laid_out = {key: ITEMS[name][key] for key in ("metric", "rows") if key in ITEMS[name]}
    module, entry = script(name), item(scale, **laid_out, **more)
    if name in ("oracle_table1", "oracle_table2", "oracle_table3"):
        dataset = "digits" if scale == "demo" else "cifar100"
        return module.build(responses({f"{dataset}/resnet20": 0.6868}), printed(name), entry)
    return module.build(frame, printed(name), entry)


def cells(block: object, heading: str, line: str) -> list[str]:
    row = next(row for row in block.rows if heading in row.headings)
    found = next(one for one in row.lines if one.label.startswith(line))
    return [cell.text for cell in found.cells]


# Reading


def test_a_manifest_becomes_one_row_per_run(tmp_path):
    metrics = {seed: {"top1": 0.9 + seed / 100, "best_top1": 0.95} for seed in (0, 2, 10)}
    path = write_cell(
        tmp_path, "cifar10/resnet14/kd/from-resnet26", metrics, dict.fromkeys(metrics, "a-b")
    )
    frame = results.read_cells([path])
    assert frame.seed.tolist() == [0, 2, 10]
    assert frame.top1.tolist() == [0.9, 0.92, 1.0]
    assert set(frame.teacher) == {"resnet26"}
    assert set(frame.parameters) == {272_474}


def test_no_teacher_is_none_even_beside_taught_runs(tmp_path):
    files = [
        write_cell(tmp_path, text, {0: {"top1": 0.9}}, {0: "a-b"})
        for text in ("cifar10/resnet26/ce", "cifar10/resnet14/kd/from-resnet26")
    ]
    frame = results.read_cells(files)
    assert frame.teacher.tolist() == [None, "resnet26"]
    assert results.teachers_of(frame, frame).network.tolist() == ["resnet26"]


def test_missing_and_malformed_manifests_are_refused(tmp_path):
    with pytest.raises(Refused, match="is missing"):
        results.read_cells([tmp_path / "cell.json"])
    write_json(tmp_path / "cell.json", {"dataset": "cifar10", "runs": {"0": {}}})
    with pytest.raises(Refused, match=r"cell\.json is damaged .*fingerprint"):
        results.read_cells([tmp_path / "cell.json"])


def test_seeds_of_one_cell_from_two_code_versions_are_noted(tmp_path):
    prints = {0: "aaaa-1111", 1: "bbbb-1111", 2: "aaaa-1111"}
    path = write_cell(tmp_path, "cifar10/resnet14/ce", {s: {"top1": 0.9} for s in prints}, prints)
    (note,) = results.code_notes(results.read_cells(path))
    assert note == (
        "Seeds of cifar10/resnet14/ce come from different code versions "
        "(aaaa: seed 0, 2; bbbb: seed 1)."
    )


def test_other_settings_or_other_methods_are_no_mixture_of_code(tmp_path):
    one = write_cell(tmp_path, "d/n/ce", {0: {}, 1: {}}, {0: "aaaa-1111", 1: "aaaa-2222"})
    two = write_cell(tmp_path, "d/n/dropout", {0: {}}, {0: "cccc-1111"})
    assert results.code_notes(results.read_cells([one, two])) == []


def test_responses_become_one_row_per_reinforcement_and_split(tmp_path):
    answer = {"kind": "gradient", "gamma": 0.5, "test": {"top1": 0.8}, "train": {"top1": 0.9}}
    content = {"teacher": "cifar100/resnet20/ce/seed3", "reinforcements": {"gradient-0.5": answer}}
    write_json(tmp_path / "responses.json", content)
    frame = results.read_responses(str(tmp_path / "responses.json"))
    assert frame.network.tolist() == ["resnet20"] * 2
    assert frame.seed.tolist() == [3, 3]
    assert frame.set_index("split").top1.to_dict() == {"test": 0.8, "train": 0.9}


def test_clusters_of_two_teachers_are_not_averaged_silently(tmp_path):
    row = "gradient,0.5,test,embedding,euclidean,super,0,0.1,0.7"
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(
            f"kind,gamma,split,space,metric,labels,seed,silhouette,top1\n{row}\n"
        )
    assert len(results.read_clusters(tmp_path / "a.csv")) == 1
    with pytest.raises(Refused, match="different teachers"):
        results.read_clusters([tmp_path / "a.csv", tmp_path / "b.csv"])


# Published values


def test_printed_percentages_become_fractions_under_our_names():
    frame = published.load(CSV["le_table2"], LABELS)
    cell = frame[(frame.network == "resnet14") & (frame.method == "le_gradcam")].iloc[0]
    assert (cell.dataset, cell.metric, cell.text) == ("cifar10", "top1", "91.21")
    assert (cell.value, cell["std"]) == pytest.approx((0.9121, 0.0007))


def test_a_chain_of_teachers_names_the_assistant():
    frame = published.load(CSV["le_table5"], LABELS)
    takd = frame[(frame.method == "takd") & (frame.network == "resnet14")]
    assert takd.teacher.tolist() == ["resnet20"]


def test_synonyms_and_hyphens_do_not_matter_but_unknown_names_stay():
    look_up = published.inverse({"ls": "LS", "mlp1024": "MLP1024", "cifar10": "CIFAR10"})
    assert look_up("Label Smoothing") == "ls"
    assert look_up("MLP 784-1024-1024-10") == "mlp1024"
    assert look_up("CIFAR-10") == "cifar10"
    assert look_up("VIB") == "VIB"


def test_of_two_methods_with_one_label_the_preferred_is_meant():
    labels = {"kd": "KD", "kd_le": "KD"}
    assert published.inverse(labels)("KD") == "kd"
    assert published.inverse(labels, prefer=["ce", "kd_le"])("KD") == "kd_le"


def test_what_is_printed_once_stands_once_and_is_compared_with_all_it_is_about():
    methods = {"dropout": "Dropout", "dropout_printed": "Dropout (0.1)", "ce": "CE"}
    twins = {"dropout_printed": "dropout", "kd_equal": "dropout"}
    labels = {**LABELS, "methods": methods, "published_as": twins}
    known = published.load(CSV["le_table2"], labels, "Table 2", prefer=methods)
    frame = runs({f"cifar10/resnet14/{name}": 0.9 for name in methods})
    table = tables.accuracy_table(frame, known, item(methods=list(methods), labels=labels))
    last = table.blocks[0]
    assert last.columns[:3] == ("Dropout", "Dropout (0.1)", "CE")
    assert cells(last, "ResNet14", "published")[:2] == ["90.33 ± 0.15", "–"]
    assert cells(last, "ResNet14", "difference")[:3] == ["−0.33", "−0.33", "−0.26"]
    assert "kd_equal" not in set(known.method)
    assert any("differences compare Dropout (0.1) to Dropout." in note for note in table.notes)


def test_print_that_stands_apart_is_not_repeated_under_methods_published_as_another():
    methods = {"dkd_official": "DKD", "dkd_equal": "DKD, equal", "oracle": "Oracle"}
    labels = {**LABELS, "methods": methods, "published_as": {"dkd_equal": "dkd_official"}}
    known = published.load(CSV["oracle_table4"], labels, "Table 4", prefer=methods)
    frame = runs({f"digits/resnet14/{name}/from-resnet14-ce_teacher": 0.9 for name in methods})
    entry = item("demo", methods=list(methods), labels=labels)
    apart = script("oracle_table4").build(frame, known, entry).blocks[-2]
    assert apart.title.startswith(tables.SEPARATE)
    assert "DKD" in apart.columns
    assert "DKD, equal" not in apart.columns


def test_what_is_printed_once_counts_once_in_the_rank_correlation():
    methods = ("ce", "le_permut", "le_grad", "le_gradcam")
    labels = {**LABELS, "published_as": {"le_uniform": "ce"}}
    known = published.load(CSV["le_table6"], labels, "Table 6", prefer=["le_uniform", *methods])
    frame = runs({f"cifar10/resnet14/{name}": 0.9 for name in (*methods, "le_uniform")})
    frame["top1"] += frame.method.map({name: k / 100 for k, name in enumerate(methods)}).fillna(0.2)
    notes = tables.accuracy_table(frame, known, item(labels=labels)).notes
    assert any("ResNet14 1.00 (4 methods)" in note for note in notes)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_finds_its_printed_numbers(name):
    known = published.load(CSV[name], LABELS, ITEMS[name]["number"])
    assert known.value.notna().any()


def test_a_foreign_csv_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(Refused, match="columns a, b; expected paper"):
        published.load(tmp_path / "x.csv", LABELS)


def test_an_item_without_printed_numbers_shows_ours_alone():
    table = tables.accuracy_table(runs(TABLE2), published.load(None, LABELS), item())
    assert {line.label for block in table.blocks for row in block.rows for line in row.lines} == {
        "ours (n = 5)"
    }
    assert not any("reproduced" in note for note in table.notes)


# Comparing


def test_spread_is_the_sample_standard_deviation():
    frame = runs({"cifar10/resnet14/ce": 0.9}, seeds=2).assign(top1=[0.90, 0.92])
    (row,) = compare(frame, printed("le_table2").iloc[:0], "top1").to_dict("records")
    assert (row["n"], row["mean"]) == (2, pytest.approx(0.91))
    assert row["std"] == pytest.approx(0.01 * 2**0.5)  # ddof = 0 would give 0.01


@pytest.mark.parametrize(
    ("dataset", "off", "spread", "reproduced"),
    [
        ("cifar10", 0.005, 0.001, True),
        ("cifar10", 0.0051, 0.001, False),
        ("cifar10", 0.0078, 0.004, True),
        ("cifar100", 0.0069, 0.001, True),
        ("mnist", 0.0011, 0.0001, False),
        ("digits", 0.0, 0.001, None),
    ],
)
def test_verdict_follows_the_tolerance_of_the_data_set(dataset, off, spread, reproduced):
    theirs = printed("le_table2").iloc[:1].assign(dataset=dataset, value=0.9, method="ce")
    ours = runs({f"{dataset}/resnet14/ce": 0.9 - off}, seeds=3, spread=spread)
    (row,) = compare(ours, theirs, "top1").to_dict("records")
    assert row["reproduced"] is reproduced


def test_cells_known_to_one_side_only_are_kept():
    frame = compare(runs({"cifar10/resnet14/kd": 0.91}), printed("le_table2"), "top1")
    assert frame[frame.method == "kd"].published.isna().all()
    assert (frame[frame.method == "dropout"].n == 0).all()
    assert len(frame) == 11


def test_rank_correlation_by_hand():
    # ours 1 3 2 against print 1 2 3: 1 − 6·2 / (3·8) = 0.5
    theirs = printed("le_table6").query("network == 'resnet14' and method != 'ce'")
    means = {"le_permut": 0.90, "le_grad": 0.92, "le_gradcam": 0.91}
    ours = runs({f"cifar10/resnet14/{name}": mean for name, mean in means.items()})
    found = rank_correlation(compare(ours, theirs, "top1"), ("dataset", "network"))
    assert found == {("cifar10", "resnet14"): (pytest.approx(0.5), 3)}


# Tables


def test_paper_scale_shows_ours_published_and_difference():
    table = build("le_table2", runs(TABLE2), methods=["ce", "le_gradcam"])
    last, best = table.blocks[:2]
    assert last.title == "Test images, last epoch: accuracy (%), CIFAR-10"
    assert last.columns[:2] == ("CE", "LE(Grad-CAM)")
    assert cells(last, "ResNet14", "ours (n = 5)")[:2] == ["90.26 ± 0.20", "91.21 ± 0.20"]
    assert cells(last, "ResNet14", "published")[:2] == ["90.26 ± 0.33", "91.21 ± 0.07"]
    assert cells(last, "ResNet8", "difference")[:2] == ["0.00", "+0.20"]
    assert cells(best, "ResNet8", "difference")[:2] == ["+0.20", "+0.40"]
    assert any("Spearman" in note for note in build("le_table6", six_methods()).notes)


def six_methods() -> pd.DataFrame:
    methods = ("ce", "le_permut", "le_grad", "le_gradcam")
    return runs({f"cifar10/resnet14/{name}": 0.9 + k / 100 for k, name in enumerate(methods)})


def test_columns_that_only_print_has_show_a_dash_for_ours():
    last = build("le_table2", runs(TABLE2)).blocks[0]
    place = last.columns.index("Dropout")
    assert cells(last, "ResNet14", "ours")[place] == "–"
    assert cells(last, "ResNet14", "published")[place] == "90.33 ± 0.15"


def test_many_methods_make_rows_the_papers_own_first():
    methods = {f"kd_{name}": f"KD {name}" for name in "abcdefgh"} | {"oracle": "Oracle"}
    labels = {**LABELS, "methods": methods}
    frame = runs(
        {
            f"{dataset}/resnet20/{name}/from-resnet20": 0.7 + place / 100
            for dataset in ("cifar10", "cifar100")
            for place, name in enumerate(methods)
        }
    )
    order = {"best_first": ["oracle", list(methods)[:-1]], "says": "so"}
    entry = item(methods=list(methods), labels=labels, claims=[order])
    block = tables.accuracy_table(frame, published.load(None, labels), entry).blocks[0]
    assert block.headings == ("Method",)
    assert block.columns == ("CIFAR-10 ResNet20", "CIFAR-100 ResNet20")
    assert [row.headings[0] for row in block.rows[:2]] == ["Oracle", "KD a"]
    assert cells(block, "KD b", "ours") == ["71.00 ± 0.20", "71.00 ± 0.20"]


def test_no_number_is_set_apart_by_weight_for_a_lead_within_noise():
    table = build("le_table2", runs(TABLE2))
    assert "<b>" not in render.to_html(table)
    assert "**" not in render.to_markdown(table).replace("> **", "")
    assert r"\textbf" not in render.to_latex(table)


def test_missing_seeds_are_shown():
    frame = runs(TABLE2, seeds=5)
    frame = frame[~((frame.method == "ce") & (frame.seed > 2))]
    last = build("le_table2", frame).blocks[0]
    ours = cells(last, "ResNet14", "ours (n = 3–5)")
    assert ours[0].endswith("(n = 3)")
    assert ours[last.columns.index("LE(Grad-CAM)")] == "91.21 ± 0.20"


def test_columns_that_share_a_label_are_told_apart_and_print_goes_to_the_first():
    cells_of = ["kd_official", "kd_equal", "oracle"]
    frame = runs({f"cifar100/resnet20/{name}/from-resnet20-ce_teacher": 0.7 for name in cells_of})
    labels = {**LABELS, "methods": {"kd_official": "KD", "kd_equal": "KD", "oracle": "Oracle"}}
    known = published.load(CSV["oracle_table4"], labels, "Table 4", prefer=cells_of)
    entry = item(methods=cells_of) | {"labels": labels}
    last = script("oracle_table4").build(frame, known, entry).blocks[0]
    assert last.columns[:3] == ("KD (official)", "KD (equal)", "Oracle")
    row = next(row for row in last.rows if row.headings == ("CIFAR-100", "ResNet20"))
    assert [cell.text for cell in row.lines[1].cells[:3]] == ["70.94", "–", "71.97"]


def test_only_the_seeds_of_the_item_count(tmp_path):
    metrics = {seed: {"top1": 0.9} for seed in range(3)}
    path = write_cell(tmp_path, "d/n/ce", metrics, dict.fromkeys(metrics, "a-b"))
    assert results.read_cells(path, {"runs": [["d/n/ce", [0, 2]]]}).seed.tolist() == [0, 2]
    assert len(results.read_cells(path, {"runs": [["d/other/ce", [0]]]})) == 3  # a teacher's cell


def test_searches_are_told_in_a_sentence(tmp_path):
    scores = [{"value": value, "top1": 0.9} for value in (0.1, 0.25)]
    found = {"cell": "mnist/mlp1024/dropout", "option": "rate", "winner": 0.25, "scores": scores}
    write_json(tmp_path / "search.json", found)
    assert results.search_notes(tmp_path / "search.json", LABELS) == [
        "Searched on held-out training images: MLP1024, Dropout, rate = 0.25; "
        "accuracies there: 0.1 (90.00 %), 0.25 (90.00 %)."
    ]


def test_a_table_says_what_differs_from_the_papers_data_and_training():
    frame = runs({"digits/resnet14/ce": 0.98})
    notes = build("le_table2", frame, "demo", runs=[["digits/resnet14/ce", [0]]]).notes
    assert "Data: Digits (paper: CIFAR-10)." in notes
    assert "Recipe: epochs 5 (paper: 160)." in notes


def test_where_some_cells_differ_theirs_are_marked_and_only_theirs_stand_apart_from_print():
    cell = "cifar10/resnet14/le_gradcam"
    frame = runs(TABLE2)
    frame["differs"] = (frame.method == "le_gradcam") & (frame.network == "resnet14")
    shown = [[name, [0, 1, 2, 3, 4]] for name in TABLE2]
    changed = {"differs": {cell: [["recipe", "epochs", 2, 160]]}, "runs": shown}
    table = build("le_table2", frame, methods=["ce", "le_gradcam"], **changed)
    assert table.banner == (
        "paper: in part other training than the paper's, not comparable where marked ≠"
    )
    assert "Recipe of LE(Grad-CAM): epochs 2 (paper: 160)." in table.notes
    last, apart = table.blocks[0], table.blocks[-1]
    ours = next(row for row in last.rows if row.headings == ("ResNet14",)).lines[0].cells
    assert [cell.mark for cell in ours[:2]] == ["", "≠"]
    assert cells(last, "ResNet14", "published")[:2] == ["90.26 ± 0.33", "–"]
    assert cells(last, "ResNet8", "published")[:2] == ["87.95 ± 0.32", "88.70 ± 0.18"]
    assert apart.title.startswith(tables.SEPARATE)
    assert apart.columns == ("LE(Grad-CAM)",)
    mine = table.tidy[(table.tidy.method == "le_gradcam") & (table.tidy.network == "resnet14")]
    assert mine.published.isna().all()
    assert mine.reproduced.isna().all()


def test_fewer_seeds_are_said_and_make_nothing_incomparable():
    table = build("le_table2", runs(TABLE2), fewer_seeds={"cifar10/resnet14/ce": [2, 5]})
    assert table.banner == ""
    assert "Seeds: 2 (paper: 5)." in table.notes


def test_teachers_trained_by_a_recipe_of_their_own_meet_the_printed_ones():
    frame = runs(
        {
            "cifar100/resnet20/ce_teacher": 0.6926,
            "cifar100/resnet20/oracle/from-resnet20-ce_teacher": 0.72,
        }
    )
    teachers = build("oracle_table4", frame, methods=["oracle"]).blocks[2]
    row = next(row for row in teachers.rows if row.headings == ("CIFAR-100", "ResNet20"))
    assert [line.cells[0].text for line in row.lines] == ["69.26 ± 0.20", "69.26", "0.00"]


def test_a_single_run_has_no_spread():
    last = build("le_table2", runs(TABLE2, seeds=1)).blocks[0]
    assert cells(last, "ResNet14", "ours (n = 1)")[0] == "90.26"


@pytest.mark.parametrize("name", TABLES)
def test_demo_never_shares_a_block_with_print(name):
    frame = runs({text.replace("cifar10", "digits"): mean for text, mean in TABLE2.items()})
    table = build(name, frame, scale="demo")
    assert table.banner == NOTICE
    for block in table.blocks:
        apart = block.title.startswith("Published, not comparable with ours")
        kinds = {line.label.split()[0] for row in block.rows for line in row.lines}
        assert kinds == ({"published"} if apart else {"ours"})
    assert table.tidy.published.isna().all()
    assert not any("reproduced" in note for note in table.notes)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_drawn_from_print_alone(name):
    empty = runs(TABLE2).iloc[:0]
    if name in ("oracle_table1", "oracle_table2", "oracle_table3"):
        table = build(name, empty)
    else:
        table = script(name).build(empty, printed(name), item())
    assert any(line.label == "published" for row in table.blocks[0].rows for line in row.lines)


def test_teachers_stand_in_a_block_of_their_own():
    frame = runs(
        {
            "cifar10/resnet26/ce": 0.9151,
            "cifar10/resnet20/kd/from-resnet26": 0.914,
            "cifar10/resnet14/kd/from-resnet26": 0.911,
            "cifar10/resnet14/takd/from-resnet20-kd": 0.912,
        }
    )
    last, _, teachers = build("le_table5", frame).blocks
    assert {row.headings for row in last.rows} == {("ResNet14",), ("ResNet8",)}
    assert cells(teachers, "ResNet26", "difference") == ["0.00"]
    assert cells(teachers, "ResNet20 (KD)", "ours") == ["91.40 ± 0.20"]


def test_students_of_different_teachers_are_not_averaged():
    frame = runs({f"cifar10/resnet14/kd/from-{name}": 0.9 for name in ("resnet20", "resnet26")})
    with pytest.raises(Refused, match=r"cifar10/resnet14/kd would average .*resnet20, resnet26"):
        build("le_table5", frame)


def test_pairs_of_other_architectures_stay_out_of_the_self_distillation_table():
    frame = runs(
        {f"cifar100/resnet20/oracle/from-{name}": 0.7 for name in ("resnet20", "resnet56")}
    )
    ours = cells(build("oracle_table4", frame).blocks[0], "ResNet20", "ours (n = 5)")
    assert "70.00 ± 0.20" in ours


def test_entropy_groups_are_compared_with_the_data_set_they_belong_to():
    table = build("oracle_table3", runs(TABLE2))
    block = table.blocks[0]
    row = next(row for row in block.rows if row.headings == ("CIFAR-100", "ResNet20"))
    assert [cell.text for cell in row.lines[1].cells[:2]] == ["5.39", "5.01"]
    assert block.columns[:2] == ("x", "x*, sign, γ′ = 2/255")
    assert any("3.32 bits" in note for note in table.notes)
    assert table.tidy.reproduced.isna().all()


def test_training_images_are_not_compared_with_print():
    test, train = build("oracle_table1", runs(TABLE2)).blocks
    assert cells(test, "ResNet20", "published")[:2] == ["68.68", "90.60"]
    assert {line.label for row in train.rows for line in row.lines} == {"ours (n = 1)"}


def test_calibration_table_lists_sizes_and_the_remark_on_them():
    table = build("oracle_table2", runs({"cifar100/resnet20/ce": 0.69}))
    assert {"ece", "ece15", "parameters"} <= set(table.tidy.metric)
    assert cells(table.blocks[-1], "ResNet20", "ours") == ["0.27"]
    assert cells(table.blocks[-1], "ResNet18", "published") == ["11.2"]
    assert any(
        note.startswith("Published parameters: these are the counts") for note in table.notes
    )


def test_remarks_on_printed_values_name_the_cells_they_are_about():
    notes = build("le_table5", runs({"cifar10/resnet14/le_gradcam": 0.91})).notes
    (note,) = [note for note in notes if "std 0.19" in note]
    assert note.startswith("Published KD (ResNet14); Hint, AT+KD, FSP+KD, TAKD: ")


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_a_cell_that_print_calls_inapplicable_stays_so_and_says_why(scale):
    table = build("le_table6", six_methods(), scale)
    block = table.blocks[0 if scale == "paper" else -1]
    shown = dict(zip(block.columns, cells(block, "MLP1024", "published"), strict=True))
    assert shown["LE(Grad-CAM)"] == "n/a"
    assert "Published LE(Grad-CAM) (MNIST): not applicable (Grad-CAM needs a conv layer)." in (
        table.notes
    )


def test_notes_of_the_item_and_of_mixed_code_are_shown():
    frame = runs(TABLE2).assign(fingerprint=lambda t: t.seed.map({0: "old-1"}).fillna("new-1"))
    notes = build("le_table2", frame, note=["First.", "Second."]).notes
    assert notes[:2] == ("First.", "Second.")
    (mixed,) = [note for note in notes if "different code versions" in note]
    assert mixed.count("cifar10/resnet") == 4


# Writing

NASTY = r"<b>50% & $x_1$ | #{a}\b ~^</b>"


def nasty() -> tables.Table:
    labels = {**LABELS, "networks": {"resnet14": NASTY}, "methods": {"ce": NASTY}}
    frame = runs({"digits/resnet14/ce": 0.9})
    entry = item("demo", title=NASTY, caption=NASTY, note=NASTY) | {"labels": labels}
    return tables.accuracy_table(frame, printed("le_table2").iloc[:0], entry)


def test_html_escapes_everything_and_needs_nothing_else():
    text = render.to_html(nasty())
    assert "<b>50%" not in text
    assert text.count("&lt;b&gt;50% &amp; $x_1$") >= 6  # titles, caption, note, row, column
    assert not re.search(r"https?:|<script|<link|src=", text)


def test_latex_escapes_everything():
    text = render.to_latex(nasty())
    escaped = (
        r"\textless{}b\textgreater{}50\% \& \$x\_1\$ \textbar{} \#\{a\}\textbackslash{}b "
        r"\textasciitilde{}\textasciicircum{}"
    )
    assert text.count(escaped) >= 5
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == 2  # network, line label, one method
    assert text.isascii()
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2


def test_markdown_tables_keep_their_columns():
    lines = [line for line in render.to_markdown(nasty()).splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


def test_verdicts_are_marked_by_sign_and_word_not_by_colour_alone():
    table = build("le_table2", runs({**TABLE2, "cifar10/resnet14/dropout": 0.95}))
    page = render.to_html(table)
    assert 'aria-label="within tolerance">✓' in page
    assert 'aria-label="outside tolerance">✗' in page
    assert "+4.67 ✗" in render.to_markdown(table)


def test_saving_writes_four_files_the_same_bytes_each_time(tmp_path):
    def saved(folder: str) -> dict[str, bytes]:
        kinds = ("csv", "md", "tex", "html")
        output = SimpleNamespace(**{kind: tmp_path / folder / f"t.{kind}" for kind in kinds})
        tables.save(build("le_table2", runs(TABLE2)), output)
        return {kind: getattr(output, kind).read_bytes() for kind in kinds}

    assert saved("one") == saved("two")
    tidy = pd.read_csv(tmp_path / "one" / "t.csv")
    assert tidy.columns[:5].tolist() == ["section", "dataset", "network", "method", "metric"]
    assert tidy["mean"].dropna().between(0, 1).all()


# The job


def snakemake(log: Path) -> SimpleNamespace:
    return SimpleNamespace(log=[str(log)], params={}, input={})


def test_a_refusal_is_one_line_in_the_log_and_on_stderr(tmp_path, capsys):
    log = tmp_path / "logs" / "item.log"
    with pytest.raises(SystemExit) as stop, drawing.job(snakemake(log)):
        raise Refused("cell.json is missing;\n run the rule that makes it")
    assert stop.value.code == 1
    line = "cell.json is missing; run the rule that makes it\n"
    assert log.read_text() == line
    assert capsys.readouterr().err == line


def test_an_unexpected_error_leaves_its_trace_in_the_log_only(tmp_path, capsys):
    log = tmp_path / "item.log"
    with pytest.raises(SystemExit), drawing.job(snakemake(log)):
        raise KeyError("top1")
    assert "Traceback" in log.read_text()
    assert capsys.readouterr().err == f"KeyError: 'top1'; details in {log}\n"


def test_report_and_analysis_import_no_torch_and_tables_no_matplotlib():
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, 'workflow'); "
        "import xkd.report.tables, xkd.report.reinforced, xkd.measures.clusters, "
        "xkd.measures.calibration, xkd.measures.entropy, xkd.measures.class_similarity; "
        "assert not {'torch', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules); "
        "import xkd.report.plots, xkd.report.curves, xkd.report.arrays; "
        "assert not {'torch', 'matplotlib.pyplot', 'seaborn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_table_says_which_data_sets_the_config_leaves_out():
    table = build("le_table2", six_methods(), left_out=["CIFAR-10"])
    assert "Left out, as the config says (without): CIFAR-10." in table.notes
