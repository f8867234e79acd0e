"""The dashboard as a person sees it: it fits, it reads, it links, and what is clicked happens."""

import contextlib
import os
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, TimeoutError, expect

from components.knowledge import Graph
from components.knowledge_files import save
from components.ledger.actions import Actor
from components.ledger.store import Ledger
from dashboard.app import PAGES
from dashboard.stores import Stores
from tests.browser.axe import findings
from tests.browser.conftest import Open, serve
from tests.dashboard.installation import Installation

pytestmark = pytest.mark.browser
STILL = "[data-testid=stApp][data-test-script-state=notRunning]"
SHOTS = Path(__file__).parent / "screenshots"

# What a page has shown once it has asked its stores.
LOADED = {
    "ecosystem": ".node.n-feedback >> visible=true",
    "evolution": ".treepic >> visible=true",
    "models": ".b-bars",
    "data": ".b-tiles",
    "runs": ".b-rows",
    "playground": "textarea",
    "feedback": ".b-rows",
    "cost": ".b-tiles",
}


def loaded(page: Page, name: str) -> Page:
    page.locator(LOADED[name]).first.wait_for()
    return page


def shot(page: Page, name: str) -> None:
    """A picture for whoever wants to look, with SCREENSHOTS=1; as tall as the page, which scrolls inside itself."""
    if os.environ.get("SCREENSHOTS"):
        height = page.evaluate("document.querySelector('[data-testid=stMain]')?.scrollHeight ?? 0")
        width = page.evaluate("window.innerWidth")
        page.set_viewport_size({"width": width, "height": max(900, height)})
        page.screenshot(path=SHOTS / f"{name}.png")


def dress(page: Page, scheme: Literal["light", "dark"]) -> None:
    """In the other scheme, as at dusk: without a reload."""
    ground = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
    before = page.evaluate(ground)
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(f"before => {ground} !== before", arg=before)


def at(name: str) -> str:
    return "" if name == "ecosystem" else name


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window_in_both_languages_and_is_accessible(
    name: str, width: int, open_page: Open, axe_script: str | None
) -> None:
    for language, scheme in (("en", "light"), ("zh", "dark")):
        page = loaded(open_page(at(name), language=language, width=width, scheme=scheme), name)
        expect(page.locator(".b-box.s-failed")).to_have_count(1 if name == "data" else 0)
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= width, f"{name} in {language} is {wide} pixels wide"
        page.wait_for_selector(STILL)
        if axe_script:
            assert findings(page, axe_script) == [], f"{name} in {language}, {scheme}, {width} pixels wide"
        shot(page, f"{name}-{language}-{width}-{scheme}")
        other = "dark" if scheme == "light" else "light"
        dress(page, other)
        if axe_script:
            colours = findings(page, axe_script, only=["color-contrast"])
            assert colours == [], f"{name} in {language}, {other}, {width} pixels wide"
        shot(page, f"{name}-{language}-{width}-{other}")


def test_accessibility_is_checked(axe_script: str | None) -> None:
    if axe_script is None:
        pytest.skip("axe-core cannot be fetched: npm, or its registry, is not to be had")
    assert "axe" in axe_script


def test_pages_are_used_by_keyboard(open_page: Open) -> None:
    page = loaded(open_page(), "ecosystem")
    page.wait_for_selector(STILL)
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement?.textContent?.trim() ?? ''"))
        if seen[-1].endswith("Models"):  # its icon's name stands before it
            break
    assert [text for text in seen if text.endswith(("Ecosystem", "Evolution", "Models"))] == seen[1:4]
    ring = page.evaluate("(e => e.outlineStyle + e.boxShadow)(getComputedStyle(document.activeElement))")
    assert ring != "nonenone"  # where the focus is can be seen
    page.keyboard.press("Enter")
    expect(page.locator(".b-title")).to_have_text("Models")


def luminance(colour: list[float]) -> float:
    """WCAG 2 relative luminance of sRGB in 0–255."""
    linear = [c / 255 / 12.92 if c <= 10.31 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_loop_is_legible_in_light_and_dark(scheme: str, open_page: Open) -> None:
    page = loaded(open_page(scheme=scheme), "ecosystem")
    pairs = page.locator(".node:visible").evaluate_all(
        """nodes => nodes.flatMap(node => ['.t', '.n', '.s'].map(part => {
            const canvas = document.createElement('canvas').getContext('2d');
            const rgb = colour => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                return [...canvas.getImageData(0, 0, 1, 1).data]; };
            return [rgb(getComputedStyle(node).backgroundColor), rgb(getComputedStyle(node.querySelector(part)).color)];
        }))"""
    )
    assert len(pairs) == 21
    for ground, ink in pairs:
        dark, light = sorted((luminance(ground), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2 AA


def test_a_knowledge_graph_is_legible_in_the_dark_and_not_shrunk_on_a_telephone(
    installation: Installation, open_page: Open
) -> None:
    graph = Graph()
    graph.add(("alpha", "thing"), "part_of", ("beta", "thing"), sentence="Alpha is part of beta.", document="a.md")
    path = save(graph, "legible", settings=installation.settings)
    try:
        page = open_page("data", scheme="dark", width=390)
        drawn = page.get_by_test_id("stGraphVizChart").locator("svg")
        drawn.locator("text").first.wait_for()
        assert drawn.evaluate("svg => svg.getBoundingClientRect().width") > 700  # it scrolls in its frame
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        ink = drawn.locator("text").first.evaluate("text => getComputedStyle(text).fill.match(/[\\d.]+/g).map(Number)")
        assert luminance(ink) > 0.5, f"{ink} on a dark page"
    finally:
        path.unlink()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_stations_of_the_loop_lie_apart_and_in_their_order(width: int, open_page: Open) -> None:
    page = loaded(open_page(width=width), "ecosystem")
    expect(page.locator(".node:visible")).to_have_count(7)
    boxes = page.locator(".node:visible").evaluate_all("nodes => nodes.map(n => n.getBoundingClientRect().toJSON())")
    assert len(boxes) == 7
    for one in boxes:
        assert one["left"] >= 0 and one["right"] <= width
        for other in boxes:
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            assert one is other or apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
    if width == 390:
        assert [box["top"] for box in boxes] == sorted(box["top"] for box in boxes)
    else:
        assert [box["left"] for box in boxes[:4]] == sorted(box["left"] for box in boxes[:4])
        assert [box["left"] for box in boxes[4:]] == sorted((box["left"] for box in boxes[4:]), reverse=True)


def test_a_station_leads_to_its_page_in_the_language_that_was_chosen(open_page: Open) -> None:
    page = loaded(open_page(language="zh"), "ecosystem")
    page.locator(".node.n-deployment:visible").click()
    page.wait_for_url("**/models*")
    expect(page.locator(".b-title")).to_have_text("模型")


def test_the_language_switch_changes_every_word_at_once(open_page: Open) -> None:
    page = loaded(open_page("models"), "models")
    page.get_by_test_id("stSidebar").get_by_text("中文").click()
    expect(page.locator(".b-title")).to_have_text("模型")
    page.get_by_test_id("stSidebar").get_by_role("link", name="数据").click()
    expect(page.locator(".b-title")).to_have_text("数据")


def test_a_person_asks_corrects_and_sees_what_becomes_of_it(open_page: Open, installation: Installation) -> None:
    page = loaded(open_page("playground"), "playground")
    page.locator("textarea").fill("Finds the minimum spanning tree of a weighted graph.")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".b-answer")).to_contain_text("networkx")
    expect(page.locator(".b-answer")).to_contain_text("62% sure · banyan-library v3")
    page.get_by_text("Receipt", exact=True).click()
    expect(page.locator(".b-kv")).to_contain_text("banyan-library v3")
    sympy = page.get_by_role("option", name="sympy")
    for _ in range(10):  # a list that is open while the page refreshes closes again
        page.get_by_role("combobox").click()
        with contextlib.suppress(TimeoutError):
            sympy.click(timeout=3_000)
            break
    page.get_by_role("button", name="Send the correction").click()
    expect(page.locator(".b-steps li.done")).to_have_text(["Received"])
    with Ledger(installation.settings) as ledger:
        row = ledger.feedback("library", limit=1)[0]
    assert (row.kind, row.correction, row.channel) == ("correct", "sympy", "dashboard")
    assert row.text.startswith("Finds the minimum spanning tree")


def test_the_validation_report_is_read_in_place(open_page: Open) -> None:
    page = loaded(open_page("data"), "data")
    page.get_by_text("Validation report").click()
    report = page.frame_locator("iframe")
    expect(report.get_by_text("values must be greater than or equal to").first).to_be_visible()
    shot(page, "report")


def test_an_operator_starts_a_retraining_and_sees_it_in_the_list(open_page: Open, installation: Installation) -> None:
    page = loaded(open_page("runs"), "runs")
    page.get_by_test_id("stBaseButton-primary").click()
    page.get_by_role("button", name="Yes, start").click()
    expect(page.locator(".b-row", has_text="from the dashboard").first).to_contain_text("waits for a worker")
    started = [run for run in Stores(installation.settings).orchestration().runs if run.by == "dashboard"]
    assert {run.flow for run in started} == {"retrain"}


def test_the_loop_follows_the_stores_without_a_reload(open_page: Open, installation: Installation) -> None:
    page = loaded(open_page(), "ecosystem")
    before = page.locator(".b-tile", has_text="Answers given").locator(".v").inner_text()
    Stores(installation.settings).ask("library", "One more question.", actor=Actor("local:me", "operator"))
    expect(page.locator(".b-tile", has_text="Answers given").locator(".v")).not_to_have_text(before)


def test_stores_that_are_gone_leave_a_page_that_says_so(open_page: Open, tmp_path: Path) -> None:
    gone = {f"BANYAN_{name}_URL": "http://127.0.0.1:9" for name in ("MLFLOW", "PREFECT", "GATEWAY")}
    with serve({"BANYAN_WORKSPACE": str(tmp_path / "none"), **gone}, tmp_path) as url:
        page = loaded(open_page(url=url), "ecosystem")
        assert page.locator(".node.s-failed:visible").count() == 2
        assert page.locator(".node.s-empty:visible").count() == 5
        page.goto(f"{url}/models")
        expect(page.locator(".b-box.s-failed")).to_contain_text("cannot be read")
        page.goto(f"{url}/data")
        expect(page.locator(".b-box.s-empty")).to_contain_text("No data version yet")
