"""The result page in Chromium: from a file, by keyboard, on a phone, without scripts, for axe."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from browser import Browser, chromium
from page_results import write_results

from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.report import page

ROOT = Path(__file__).resolve().parents[2]
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"
CELL = "digits/half_resnet14/le_gradcam"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> str:
    plan = Plan(config.load(ROOT / "config.yaml", ["scale=demo"]))
    layout = plan.layout(tmp_path_factory.mktemp("results"))
    write_results(plan, layout, ("le_table2", "oracle_table4"))
    return page.write(plan, layout).as_uri()


@pytest.fixture(scope="module")
def browser() -> Browser:
    with chromium() as opened:
        yield opened


@pytest.fixture(autouse=True)
def wide(browser) -> None:
    browser.resize(1280, 900)


def test_a_page_from_a_file_asks_for_nothing_else_and_complains_of_nothing(browser, made):
    browser.requests(), browser.logs("browser")
    browser.open(made)
    asked = [url for url in browser.requests() if not url.startswith(("data:", "blob:", "about:"))]
    assert set(asked) == {made}
    assert browser.logs("browser") == []


def test_verdicts_numbers_and_curves_are_drawn(browser, made):
    browser.open(made)
    assert browser.run("return document.querySelectorAll('.forest svg').length") >= 2
    assert browser.run("return document.querySelectorAll('.dots svg').length") >= 4
    assert browser.run("return document.querySelectorAll('#curve-plot svg path').length") >= 2


def test_a_filter_hides_what_it_leaves_out_and_stands_in_the_address(browser, made):
    browser.open(made)
    rows = "return [...document.querySelectorAll('.claims-of:not([hidden]) tbody tr')]"
    before = browser.run(rows + ".filter((row) => !row.hidden).length")
    browser.run(
        "const field = document.querySelector('#filter [name=q]'); field.value = 'dropout';"
        "field.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    after = browser.run(rows + ".filter((row) => !row.hidden).map((row) => row.textContent)")
    assert 0 < len(after) < before
    assert all("Dropout" in text for text in after)
    assert "q=dropout" in browser.run("return location.hash")


def test_an_address_opens_the_page_as_it_was_left(browser, made):
    curves = "digits/half_resnet8/ce,digits/half_resnet8/le_gradcam,digits/half_resnet14/ce"
    browser.open(f"{made}#cell={CELL}&curves={curves}&series=loss")
    assert browser.run("return document.querySelector('#drawer').open")
    assert browser.run("return document.querySelectorAll('#curve-chips li').length") == 3
    assert browser.run("return document.querySelector('[name=series]:checked').value") == "loss"


def test_a_number_opens_its_runs_and_the_keyboard_alone_gets_there_and_back(browser, made):
    browser.open(made)
    browser.run(f"document.querySelector('#le_table2 a[data-cell=\"{CELL}\"]').focus()")
    browser.press(ENTER)
    browser.wait("return document.querySelector('#drawer').open")
    told = browser.run("return document.querySelector('#drawer').textContent")
    assert "LE(Grad-CAM) · ResNet14/2 · Digits" in told
    assert f"xkd train {CELL} --set scale=demo" in told
    assert "data: Digits (paper: CIFAR-10)" in told
    rows = "return document.querySelectorAll('#drawer tbody tr').length"
    assert browser.run(rows) == 5
    browser.press(ESCAPE)
    browser.wait("return !document.querySelector('#drawer').open")
    focused = browser.run("return document.activeElement.dataset.cell")
    assert focused == CELL
    assert "cell" not in browser.run("return location.hash")


def test_numbers_are_of_the_last_epoch_or_of_the_best_as_the_address_says(browser, made):
    number = (
        f"return document.querySelector('#le_table2 .numbers a[data-cell=\"{CELL}\"]').textContent"
    )
    caption = "return document.querySelector('#le_table2 .numbers caption').textContent"
    warned = "return document.querySelector('#le_table2 .best-only').checkVisibility()"
    axis = "return document.querySelector('#le_table2 .dots svg').textContent"
    browser.open(made)
    last = browser.run(number)
    assert "last epoch" in browser.run(caption)
    assert not browser.run(warned)
    browser.run("document.querySelector('#le_table2 button[data-epoch=best]').click()")
    assert browser.run(number) != last
    assert "best epoch" in browser.run(caption)
    assert "best epoch" in browser.run(axis)
    assert browser.run(warned)
    assert "epoch=best" in browser.run("return location.hash")
    best = browser.run(number)
    browser.open(f"{made}#epoch=best")
    assert browser.run(number) == best
    browser.run("document.querySelector('#oracle_table4 button[data-epoch=last]').click()")
    assert browser.run(number) == last


def test_the_contents_do_not_scroll_sideways(browser, made):
    browser.open(made)
    wide = (
        "const edge = document.querySelector('nav').getBoundingClientRect().right;"
        "return [...document.querySelectorAll('nav a')].filter((one) =>"
        " one.scrollWidth > one.clientWidth || one.getBoundingClientRect().right > edge)"
    )
    assert browser.run(wide + ".map((one) => one.textContent)") == []


def test_tab_reaches_every_link_button_and_field_in_turn(browser, made):
    browser.open(made)
    # those that are seen; of radio buttons, the chosen one stands for all
    browser.run(
        "window.wanted = new Set([...document.querySelectorAll('a[href], button, input, select,"
        " summary, [tabindex]')].filter((one) => one.checkVisibility({visibilityProperty: true})"
        " && !(one.type === 'radio' && !one.checked) && !one.closest('dialog')));"
        "window.seen = new Set();"
        "document.addEventListener('focusin', (event) => window.seen.add(event.target));"
        "document.activeElement.blur();"
    )
    count = browser.run("return window.wanted.size")
    for _ in range(count // 50 + 2):
        browser.press(*[TAB] * 50)
    left = "return [...window.wanted].filter((one) => !window.seen.has(one))"
    assert count > 50
    assert browser.run(left + ".map((one) => one.outerHTML.slice(0, 80))") == []


def test_a_phone_needs_no_scrolling_sideways(browser, made):
    browser.resize(390, 844)
    browser.open(made)
    browser.wait("return document.documentElement.scrollWidth <= 390")
    assert browser.run("return document.querySelectorAll('.forest svg').length") >= 2


def test_tables_and_verdicts_are_there_without_scripts(browser, made):
    browser.devtools("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser._send("/url", {"url": made})
        text, end = "document.body.innerText", time.monotonic() + 30
        while (
            "value"
            not in (told := browser.devtools("Runtime.evaluate", {"expression": text}))["result"]
        ):
            assert time.monotonic() < end, "the page never came"
        assert "LE(Grad-CAM)" in told["result"]["value"]
        assert "Curves need JavaScript" in told["result"]["value"]
        shown = "getComputedStyle(document.querySelector('#filter')).display"
        told = browser.devtools("Runtime.evaluate", {"expression": shown})
        assert told["result"]["value"] == "none"
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser, made, scheme):
    axe = find_axe()
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.devtools("Emulation.setEmulatedMedia", {"features": features})
    for fragment in ("", f"#cell={CELL}"):
        browser.open(made + fragment)
        browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        browser.run(axe.read_text(encoding="utf-8"))
        found = browser.run_async(
            "const done = arguments[arguments.length - 1];"
            "axe.run().then((result) => done(result.violations.map((one) =>"
            " [one.impact, one.id, one.nodes[0].html.slice(0, 120)])))"
        )
        assert [one for one in found if one[0] in ("serious", "critical")] == []


def find_axe() -> Path:
    """axe.min.js: named by AXE_CORE, or installed by npm for everybody or in the project."""
    folders = [ROOT / "node_modules"]
    if npm := shutil.which("npm"):
        asked = subprocess.run([npm, "root", "--global"], capture_output=True, text=True)
        folders.append(Path(asked.stdout.strip()))
    places = [folder / "axe-core" / "axe.min.js" for folder in folders]
    if named := os.environ.get("AXE_CORE"):
        places.insert(0, Path(named))
    for place in places:
        if place.is_file():
            return place
    pytest.skip("no axe-core: npm install --global axe-core, or AXE_CORE=.../axe.min.js")
