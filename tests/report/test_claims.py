"""Claims of the papers: differences and intervals by hand, verdicts, and how they are shown."""

import json
from math import nan
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from scipy import stats
from synthetic_results import LABELS, ROOT, item, printed_file, runs, script

from xkd.plan import config, jobs
from xkd.plan.grid import Plan
from xkd.report import claims, published, render, tables, verdicts, vocabulary

TABLE2 = printed_file("le_table2")
LE_OVER_CE = {"best_first": ["le_gradcam", "ce"], "says": "LE is better"}


def accuracies(
    network: str = "resnet14", dataset: str = "cifar10", **methods: list
) -> pd.DataFrame:
    """One run per method and seed; None is a seed that is missing."""
    rows = [
        {"dataset": dataset, "network": network, "method": method, "seed": seed, "top1": top1}
        for method, values in methods.items()
        for seed, top1 in enumerate(values)
        if top1 is not None
    ]
    return pd.DataFrame(rows).assign(teacher=None)


def entry(*asked: dict, scale: str = "paper", **more: object) -> dict:
    known = {"claims": list(asked), "methods": list(LABELS["methods"]), "number": "Table 2"}
    return item(scale, **known | more)


def judged(frame: pd.DataFrame, *asked: dict, scale: str = "paper", **more: object) -> list[dict]:
    return claims.judge(frame, entry(*asked, scale=scale), **more).to_dict("records")


def test_a_difference_is_paired_by_seed_and_its_interval_is_students_by_hand():
    # d = 0.01, 0.02, 0.03: mean 0.02, s.d. 0.01, t(0.975, 2) = 4.302653; half = 4.302653·0.01/√3
    frame = accuracies(le_gradcam=[0.91, 0.95, 0.93], ce=[0.90, 0.93, 0.90])
    (line,) = judged(frame, LE_OVER_CE, printed=TABLE2)
    assert line["difference"] == pytest.approx(0.02)
    half = 0.0248414
    assert (line["low"], line["high"]) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-7)
    assert (line["n"], line["verdict"]) == (3, "undecided")
    assert line["published"] == pytest.approx(0.9121 - 0.9026)


def test_seeds_that_one_method_lacks_are_left_out():
    frame = accuracies(le_gradcam=[0.91, 0.93, 0.99], ce=[0.90, 0.91, None])
    (line,) = judged(frame, LE_OVER_CE)
    assert (line["n"], line["difference"]) == (2, pytest.approx(0.015))
    # t(0.975, 1) = 12.706205, s.d. = 0.01/√2, half = 12.706205 · 0.005
    assert line["high"] == pytest.approx(0.015 + 0.063531, abs=1e-6)


@pytest.mark.parametrize(
    ("gains", "word"),
    [
        ([0.01, 0.011, 0.012], "holds"),
        ([-0.01, -0.011, -0.012], "contradicted"),
        ([0.01, -0.01, 0.02], "undecided"),
        ([0.0, 0.0, 0.0], "undecided"),
        ([0.026, 0.026, 0.026], "undecided"),
        ([0.02, 0.02], "undecided"),
        ([0.05], "undecided"),
        ([], "not measured"),
    ],
)
def test_what_is_found_is_where_the_whole_interval_lies(gains, word):
    frame = accuracies(le_gradcam=[0.9 + gain for gain in gains], ce=[0.9] * 3)
    (line,) = judged(frame, LE_OVER_CE)
    assert (line["found"], line["verdict"]) == (word, word)
    assert pd.isna(line["low"]) == (len(set(gains)) < 2)


def test_no_gain_where_the_paper_prints_one_is_smaller_than_published():
    """CIFAR-10, ResNet-8, five complete seeds of each."""
    frame = accuracies(
        "resnet8",
        ce=[0.8807, 0.8811, 0.8842, 0.8816, 0.8854],
        le_gradcam=[0.8809, 0.8830, 0.8827, 0.8840, 0.8823],
    )
    frame = claims.judge(frame, entry(LE_OVER_CE, trials=5), TABLE2)
    (line,) = frame.to_dict("records")
    # d̄ = −0.00002, s.d. 0.0023059, t(0.975, 4) = 2.776445: half = 0.0028631
    numbers = [line[name] for name in ("difference", "low", "high", "published")]
    assert numbers == pytest.approx([-0.00002, -0.0028831, 0.0028431, 0.0075], abs=1e-7)
    assert (line["n"], line["verdict"]) == (5, "smaller than published")
    (row,) = verdicts.block("", frame, LABELS).rows
    shown = {one.label: one.cells[0].text for one in row.lines}
    assert shown["ours (n = 5)"] == "0.00 [−0.29, +0.28]"
    assert shown["published"] == "+0.75 [+0.35, +1.15]"  # 0.32 and 0.18 of five trials each, Welch
    assert shown["verdict"].startswith("↓ smaller than published")


@pytest.mark.parametrize(
    ("ours", "paper", "comparable", "word"),
    [
        ((0.02, 0.01, 0.03), 0.015, True, "reproduced"),
        ((0.02, 0.01, 0.03), nan, True, "holds"),
        ((0.02, 0.01, 0.03), 0.031, True, "smaller than published"),
        ((0.00, -0.01, 0.01), 0.02, True, "smaller than published"),
        ((0.02, 0.01, 0.03), 0.005, True, "larger than published"),
        ((0.00, -0.01, 0.01), -0.02, True, "larger than published"),
        ((-0.02, -0.03, -0.01), 0.02, True, "contradicted"),
        ((-0.02, -0.03, -0.01), -0.02, True, "contradicted"),
        ((0.00, -0.01, 0.01), 0.005, True, "undecided"),
        ((0.00, -0.01, 0.01), nan, True, "undecided"),
        ((0.05, nan, nan), 0.05, True, "undecided"),
        ((0.02, 0.01, 0.03), 0.015, False, "not comparable"),
        ((nan, nan, nan), 0.015, True, "not measured"),
        ((nan, nan, nan), 0.015, False, "not measured"),
    ],
)
def test_every_verdict_is_where_zero_and_the_published_difference_lie(
    ours, paper, comparable, word
):
    assert vocabulary.verdict(*ours, paper, comparable) == word


def test_an_undecided_comparison_says_how_many_seeds_would_decide():
    # mean 0.01, s.d. 0.02: t(0.975, 17) / √18 = 0.497 < 0.5 ≤ t(0.975, 16) / √17 = 0.514
    frame = accuracies(le_gradcam=[0.91, 0.93, 0.89], ce=[0.90] * 3)
    (line,) = judged(frame, LE_OVER_CE)
    assert line["needed"] == 18
    assert verdicts.words_of(line) == "? undecided; 18 seeds would decide"


def test_seeds_that_do_not_pair_are_compared_by_their_means():
    frame = accuracies(le_gradcam=[None, None, 0.92, 0.94], ce=[0.90, 0.91, None, None])
    (line,) = judged(frame, LE_OVER_CE)
    # variances 2e-4 and 5e-5: se² = 1.25e-4, ν = se⁴ / (1e-8 + 6.25e-10) = 1.470588
    assert (line["n"], line["paired"]) == (2, False)
    assert line["difference"] == pytest.approx(0.025)
    half = stats.t.ppf(0.975, 1.4705882) * 1.25e-4**0.5
    assert line["high"] == pytest.approx(0.025 + half)


def test_holm_counts_a_comparison_of_two_claims_once_and_rows_apart_from_conclusions():
    large = accuracies("resnet14", le_gradcam=[0.91, 0.92, 0.95], ce=[0.90, 0.90, 0.91])
    small = accuracies("resnet8", le_gradcam=[0.83, 0.85, 0.84], ce=[0.80, 0.80, 0.80])
    frame = claims.judge(pd.concat([large, small]), entry(LE_OVER_CE, LE_OVER_CE))
    rows, wholes = frame[frame.network != ""], frame[frame.network == ""]
    assert len(rows) == 4
    first = rows[rows.claim == 1]
    assert first.holm.tolist() == pytest.approx([first.p.max(), 2 * first.p.min()])
    assert rows[rows.claim == 2].holm.tolist() == first.holm.tolist()
    assert wholes.holm.tolist() == wholes.p.tolist()


def test_the_mean_over_networks_is_over_seeds_that_all_have():
    large = accuracies("resnet14", le_gradcam=[0.91, 0.92, 0.95], ce=[0.90, 0.90, 0.90])
    small = accuracies("resnet8", le_gradcam=[0.83, 0.84], ce=[0.80, 0.80])
    *rows, mean = judged(pd.concat([large, small]), LE_OVER_CE, printed=TABLE2)
    assert [line["network"] for line in rows] == ["resnet14", "resnet8"]
    # seed 0: (0.01 + 0.03) / 2, seed 1: (0.02 + 0.04) / 2; t(0.975, 1) = 12.706205
    assert (mean["network"], mean["rows"], mean["n"]) == ("", 2, 2)
    assert mean["difference"] == pytest.approx(0.025)
    assert mean["low"] == pytest.approx(0.025 - 12.706205 * 0.005, abs=1e-7)
    assert mean["published"] == pytest.approx((0.0095 + 0.0075) / 2)


def test_rows_of_one_seed_stay_out_of_a_mean_of_more():
    many = accuracies("resnet14", le_gradcam=[0.91, 0.92], ce=[0.90, 0.90])
    one = accuracies("resnet8", le_gradcam=[0.70], ce=[0.80])
    *_, mean = judged(pd.concat([many, one]), LE_OVER_CE)
    assert (mean["rows"], mean["n"], mean["difference"]) == (1, 2, pytest.approx(0.015))


def test_a_chain_compares_neighbours_and_an_inner_list_each_of_them():
    chain = {"best_first": ["kd", "dkpp", ["cwtm", "cwtm_permut"], "ce"]}
    assert claims.comparisons(chain) == [
        ("kd", "dkpp"),
        ("dkpp", "cwtm"),
        ("dkpp", "cwtm_permut"),
        ("cwtm", "ce"),
        ("cwtm_permut", "ce"),
    ]


def test_teachers_make_rows_where_one_method_has_several():
    cells = [
        f"tiny_imagenet/resnet18/{m}/from-{t}" for m in ("kd", "oracle") for t in ("resnet18",)
    ]
    cells += [f"tiny_imagenet/resnet18/{m}/from-resnet34" for m in ("kd", "oracle")]
    asked = {"best_first": ["oracle", "kd"], "says": "so"}
    path = printed_file("oracle_table5")
    frame = claims.judge(runs(dict.fromkeys(cells, 0.6)), entry(asked, number="Table 5"), path)
    assert frame.teacher.tolist() == ["resnet18", "resnet34", ""]
    assert frame.published[0] == pytest.approx(0.6625 - 0.6513)


def test_errors_are_compared_as_accuracies_and_quoted_ones_are_not():
    frame = accuracies("mlp1024", "mnist", le_grad=[0.99, 0.98], ce=[0.98, 0.98])
    asked = entry({"best_first": ["le_grad", "ce"], "says": "so"}, number="Table 3")
    (line,) = claims.judge(frame, asked, printed_file("le_table3")).to_dict("records")
    assert line["published"] == pytest.approx(0.0139 - 0.0110)
    assert line["difference"] == pytest.approx(0.005)


def test_cells_that_differ_are_judged_and_not_compared_with_print():
    frame = accuracies(le_gradcam=[0.91, 0.92, 0.93], ce=[0.90, 0.90, 0.90])
    changed = {"cifar10/resnet14/ce": [["recipe", "epochs", 2, 160]]}
    asked = entry(LE_OVER_CE, differs=changed, runs=[["cifar10/resnet14/ce", [0]]])
    frame = claims.judge(frame, asked, TABLE2)
    (line,) = frame.to_dict("records")
    assert pd.isna(line["published"])
    assert (line["verdict"], line["found"]) == ("not comparable", "undecided")
    notes = verdicts.notes(frame, asked)
    assert notes[0] == "Claim 1: LE is better: undecided here, not comparable."
    assert notes[-1] == verdicts.STAND_INS
    page = verdicts.page("LE", [asked | {"name": "le_table2"}], [frame])
    assert page.banner == "paper: other training than the paper's, not comparable with it"
    assert page.blocks[0].columns == ("undecided here, not comparable",)


def test_a_comparison_of_the_same_cells_is_counted_under_the_first_item_alone():
    frame = claims.judge(accuracies(le_gradcam=[0.91, 0.92], ce=[0.9, 0.9]), entry(LE_OVER_CE))
    other = claims.judge(
        accuracies(dropout=[0.91, 0.92], ce=[0.9, 0.9]),
        entry({"best_first": ["dropout", "ce"], "says": "so"}),
    )
    assert list(map(len, claims.once([frame, frame, other]))) == [1, 0, 1]


def drawn(tmp_path: Path) -> tuple[tables.Table, pd.DataFrame, dict]:
    """LE, Table 2, with its claims on searched values, of which one method was not measured."""
    others = ["dropout", "label_smoothing", "confidence_penalty"]
    asked = entry(
        {"best_first": ["le_gradcam", ["ce", *others]], "says": "LE outperforms CE and others"},
        {"best_first": [others, "ce"], "says": "all regularizations outperform the baseline"},
    )
    methods = {"ce": 0.90, "label_smoothing": 0.905, "le_gradcam": 0.91, "dropout": 0.9}
    frame = runs(
        {f"cifar10/{n}/{m}": top1 for n in ("resnet14", "resnet8") for m, top1 in methods.items()}
    )
    frame.loc[frame.method == "le_gradcam", "top1"] += 0.0001 * frame.seed
    claims.judge(frame, asked, TABLE2).to_csv(tmp_path / "claims.csv", index=False)
    read = claims.read(tmp_path / "claims.csv")
    known = published.load(TABLE2, LABELS, "Table 2")
    return verdicts.add(script("le_table2").build(frame, known, asked), read, asked), read, asked


def test_a_table_shows_its_claims_below_and_what_became_of_them(tmp_path):
    table, frame, _ = drawn(tmp_path)
    block = table.blocks[-1]
    assert block.columns == ("ResNet14", "ResNet8", "mean of 2")
    assert [row.headings[2] for row in block.rows] == [
        "CE",
        "Dropout",
        "Label Smoothing",
        "CE",
        "CE",
    ]
    first = block.rows[0]
    assert first.headings == ("1", "LE(Grad-CAM)", "CE")
    ours, paper, corrected, verdict = first.lines
    assert corrected.label == "p (Holm)"
    assert ours.label == "ours (n = 5)"
    assert ours.cells[0].text == "+1.02 [+1.00, +1.04]"
    assert [cell.text for cell in paper.cells] == ["+0.95", "+0.75", "+0.85"]
    assert [cell.text for cell in verdict.cells] == ["↑ larger than published; holds here"] * 3
    assert [cell.tone for cell in verdict.cells] == ["for"] * 3
    assert table.notes[0].endswith(
        ": larger than published in 2, smaller than published in 1, not measured in 1 of 4 "
        "comparisons."
    )
    assert verdicts.RULE in table.notes
    for text in (render.to_markdown(table), render.to_html(table), render.to_latex(table)):
        assert "lies below our whole interval" in text
        assert text.count("not measured") >= 2
    assert render.to_latex(table).isascii()
    assert (frame.verdict == "not measured").sum() == 2


def test_a_page_lists_every_claim_of_a_paper(tmp_path):
    _, frame, asked = drawn(tmp_path)
    page = verdicts.page("LE", [asked | {"name": "le_table2"}], [frame])
    over, details = page.blocks
    assert over.columns[-1] == "not measured"
    assert [row.lines[0].cells[-1].text for row in over.rows] == ["1", "1"]
    assert details.title == "Table 2: A table"
    assert page.tidy.columns[0] == "item"
    assert page.tidy.counted.sum() == 7  # means over rows, and what was not measured
    assert set(page.tidy.outcome[page.tidy.counted]) >= {"not measured", "undecided"}
    output = SimpleNamespace(**{kind: tmp_path / f"page.{kind}" for kind in ("csv", "md", "html")})
    tables.save(page, output)
    assert not (tmp_path / "page.tex").exists()
    assert "what the paper claims" in (tmp_path / "page.html").read_text()


def test_a_claim_about_nothing_measured_adds_a_sentence_and_no_empty_block(tmp_path):
    frame = claims.judge(accuracies(ce=[0.9, 0.9]), entry(LE_OVER_CE))
    table = tables.accuracy_table(
        runs({"cifar10/resnet14/ce": 0.9}), published.load(None, LABELS), item()
    )
    more = verdicts.add(table, frame, entry(LE_OVER_CE))
    assert len(more.blocks) == len(table.blocks)
    assert more.notes[0] == "Claim 1: LE is better: not measured."


def test_a_claim_needs_nothing_but_the_config():
    mine = {"best_first": ["le_permut", "le_uniform"], "says": "mine"}
    extra = {"tables": {"le_maps": {"claims": [mine]}}, "scale": "paper"}
    plan = Plan(config.load(ROOT / "config.yaml", values=extra))
    layout, maps = plan.layout(), plan.items["le_maps"]
    assert jobs.item_inputs(plan, maps, layout)["claims"].endswith("tables/le_maps_claims.csv")
    assert len(jobs.claim_inputs(plan, maps, layout)["cells"]) == len(maps.cells)
    assert maps not in plan.claimed("le")  # optional: drawn only when asked for


@pytest.mark.parametrize("paper", config.load(ROOT / "config.yaml")["papers"])
def test_what_the_papers_claim_is_measured_by_the_item_that_shows_it(paper):
    plan = Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))
    for shown in plan.claimed(paper):
        methods = {cell.method for cell in shown.cells}
        for claim in shown.claims:
            if "best_first" in claim:
                assert {name for pair in claims.comparisons(claim) for name in pair} <= methods
            json.dumps(claim)
