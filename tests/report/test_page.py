"""The result page: what is in the file; test_page_browser.py looks at it through a browser."""

import base64
import hashlib
import html
import json
import re
import shutil
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_results import NASTY, accuracy, write_results, write_run

from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell
from xkd.report import claims, page, page_runs, vocabulary

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("le_table2", "oracle_table4")


class Reader(HTMLParser):
    """Attributes of every element, texts outside scripts, and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.elements.append((tag, dict(attributes)))


def packed(text: str) -> dict:
    letters = re.search(r'id="data">([^<]+)</script>', text)[1]
    return json.loads(zlib.decompress(base64.b64decode(letters)))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(config.load(ROOT / "config.yaml", ["scale=demo"]))


@pytest.fixture(scope="module")
def made(plan, tmp_path_factory) -> Path:
    layout = plan.layout(tmp_path_factory.mktemp("results"))
    write_results(plan, layout, SHOWN)
    changed = Cell.parse("digits/half_resnet14/dropout")
    for path in (layout.cell(changed) / "seed1").iterdir():
        path.unlink()
    (layout.cell(changed) / "seed1").rmdir()
    write_run(layout.cell(changed), plan, changed, 1, epochs=3)
    (layout.cell(changed) / "seed2" / "run.yaml").write_text("{")
    return page.write(plan, layout)


@pytest.fixture(scope="module")
def text(made) -> str:
    return made.read_text(encoding="utf-8")


def test_every_item_of_the_config_has_its_place_and_its_state(plan, text):
    ids = {attributes.get("id") for _, attributes in Reader(text).elements}
    wanted = {name for name, item in plan.items.items() if not item.optional}
    assert wanted <= ids
    state = {
        attributes["href"][1:]: attributes["class"]
        for tag, attributes in Reader(text).elements
        if tag == "a" and attributes.get("class") in ("done", "part", "missing")
    }
    assert set(state) == wanted
    assert state["le_table2"] == "done"
    assert state["oracle_table4"] == "part"  # its runs are there, the table is not drawn
    assert state["le_figure3"] == "part"  # some of its methods are in le_table2, too
    assert state["le_table1"] == "missing"


def test_the_file_asks_for_nothing_and_is_small(made, text):
    assert made.stat().st_size < 5_000_000
    assert "default-src 'none'" in text
    for tag, attributes in Reader(text).elements:
        assert tag not in ("iframe", "object", "embed")
        assert not attributes.get("src", "data:").startswith(("http", "//", "/"))
        if tag == "link":
            assert attributes["href"] == "data:,"


def test_relative_links_lead_to_files_and_anchors_that_exist(made, text):
    reader = Reader(text)
    ids = {attributes.get("id") for _, attributes in reader.elements}
    links = [a["href"] for tag, a in reader.elements if tag == "a" and "href" in a]
    assert len(links) > 100
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids or link.startswith("#cell=")
        elif not link.startswith("https:"):
            assert (made.parent / link).exists(), link


def test_words_on_the_page_are_those_of_the_code(text):
    for name, word in vocabulary.WORDS.items():
        assert html.escape(word.means, quote=False).replace("'", "&#39;") in text, name
        assert f"{word.symbol} {name}</dt>" in text


def test_a_number_is_the_mean_over_its_seeds_and_leads_to_its_runs(plan, text):
    cell = Cell.parse("digits/half_resnet14/le_gradcam")
    values = [100 * accuracy(cell, seed) for seed in range(5)]
    mean = sum(values) / 5
    spread = (sum((value - mean) ** 2 for value in values) / 4) ** 0.5
    expected = rf'href="runs/{cell}/" data-cell="{cell}">{mean:.2f} ± {spread:.2f}</a>'
    assert expected in text


def test_histories_are_kept_to_the_last_step(text):
    run = packed(text)["cells"]["digits/half_resnet14/le_gradcam"]["seeds"][0]
    steps = packed(text)["steps"]
    values = [
        round(sum(run["curves"]["loss"][: epoch + 1]) * steps["loss"], 4) for epoch in range(3)
    ]
    assert values == [2.0, 1.0, 0.6667]


def test_runs_of_other_settings_and_damaged_ones_are_called_so(text):
    seeds = packed(text)["cells"]["digits/half_resnet14/dropout"]["seeds"]
    assert [run["seed"] for run in seeds] == [0, 1, 2, 3, 4]
    assert seeds[0]["stale"] == []
    assert seeds[1]["stale"] == ["recipe: epochs 3 (config: 4)"]
    assert "damaged" in seeds[2]
    assert "damaged</strong>" in text
    assert "(n = 4 of 5)" in text


def test_a_demo_is_called_incomparable_on_top_of_all_and_of_each(text):
    assert "Nothing on this page says anything about the papers" in text
    cell = packed(text)["cells"]["digits/half_resnet14/ce"]
    assert "data: Digits (paper: CIFAR-10)" in cell["differs"]
    for item in packed(text)["items"]:
        assert all(line["published"] is None for line in item["claims"])


def test_what_is_missing_has_its_command_and_its_runs(plan, text):
    wanted = sum(len(seeds) for _, seeds in plan.items["le_figure3"].runs)
    assert wanted > 0
    assert "snakemake --config scale=demo -- le_figure3" in text
    assert "snakemake --config scale=demo -- le_table2" not in text


def test_text_of_files_cannot_end_a_script_or_become_markup(text):
    assert NASTY not in text
    assert html.escape(NASTY) in text.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")
    assert "<!-- table -->" not in text
    assert "<p>drawn</p>" in text


def test_small_files_of_complete_runs_make_a_page_of_their_own(tmp_path):
    plan = Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))
    source = page_runs.Source(tmp_path / "reference", reference=True)
    for method in ("ce", "le_gradcam"):
        cell = Cell.parse(f"cifar10/resnet8/{method}")
        for seed in range(5):
            write_run(source.folder(cell), plan, cell, seed)
    other = Cell.parse("cifar10/resnet14/ce")
    for seed in range(5):
        write_run(source.folder(other), plan, other, seed, epochs=6)
    made = page.write(plan, plan.layout(tmp_path), source.root)
    text = made.read_text(encoding="utf-8")
    assert made == tmp_path / "reference" / "index.html"
    content = packed(text)
    assert content["cells"]["cifar10/resnet14/ce"]["differs"] == ["recipe: epochs 6 (paper: 160)"]
    (item,) = [item for item in content["items"] if item["name"] == "le_table2"]
    line = next(line for line in item["claims"] if line["than"] == "CE")
    assert line["published"] == pytest.approx(0.0075)
    assert line["verdict"] in ("larger than published", "smaller than published", "reproduced")
    assert '<span class="quiet" title="no run is there">missing</span>' in text
    assert "in part other training than the paper&#39;s" in text


def test_committed_runs_are_those_that_their_cards_name(tmp_path):
    source = page_runs.Source(ROOT / "results" / "reference", reference=True)
    plan = Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))
    settings = plan.settings(Cell.parse("cifar10/resnet8/ce"))
    assert len(page_runs.complete(source.record(settings, range(5)), range(5))) == 5
    root = tmp_path / "results" / "reference"
    copy = root / "cifar10" / "resnet8" / "ce" / "seed0"
    shutil.copytree(source.folder(settings.cell) / "seed0", copy)
    text = (copy / "metrics.json").read_text()
    (copy / "metrics.json").write_text(text.replace("0.88", "0.98"))
    (run,) = page_runs.Source(root, reference=True).record(settings, [0])["seeds"]
    assert "metrics.json is damaged" in run["damaged"]


def test_claims_on_analyses_that_are_not_committed_are_shown_as_they_were_judged(tmp_path):
    plan = Plan(config.load(ROOT / "config.yaml", ["scale=paper"]))
    committed = page_runs.Source(ROOT / "results" / "reference", reference=True)
    shutil.copytree(committed.root / "located_digits", tmp_path / "reference" / "located_digits")
    text = page.write(plan, plan.layout(tmp_path), tmp_path / "reference").read_text("utf-8")
    (gate,) = [one for one in packed(text)["items"] if one["name"] == "attentive_gate"]
    judged = claims.read(committed.claims("attentive_gate"))["verdict"].to_list()
    assert [line["verdict"] for line in gate["claims"]] == judged
    assert set(judged) == {"holds"}


def test_scripts_of_others_are_the_ones_whose_digests_are_kept():
    lines = (page.VENDOR / "SHA256SUMS").read_text().splitlines()
    names = {line.split()[1]: line.split()[0] for line in lines}
    assert set(page.SCRIPTS) <= set(names)
    for name, expected in names.items():
        assert hashlib.sha256((page.VENDOR / name).read_bytes()).hexdigest() == expected
    assert {path.name for path in page.VENDOR.iterdir()} == {*names, "SHA256SUMS", "README.md"}
