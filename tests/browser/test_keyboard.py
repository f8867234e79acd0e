"""The way from a question to a roll-back without a mouse."""

import pytest
from playwright.sync_api import Page, expect

from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.registry import Registry
from dashboard.text import Words
from tests.browser.conftest import Open
from tests.browser.test_dashboard import STILL
from tests.dashboard.installation import Installation

pytestmark = pytest.mark.browser
FOCUSED = """() => {
    const one = document.activeElement;  // a region that scrolls takes the focus, too
    if (!one.matches('a, button, input, textarea')) return '';
    return [one.getAttribute('aria-label'), one.labels?.[0]?.innerText, one.innerText].filter(Boolean).join(' ');
}"""
say = Words("en")


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until what bears the name has the focus."""
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
        if name in seen[-1]:
            return
    raise AssertionError(f"Tab does not lead to {name!r}: {seen}")


def test_somebody_asks_rates_and_rolls_back_by_keyboard_alone(open_page: Open, installation: Installation) -> None:
    page = open_page("playground")
    page.locator("textarea").wait_for()
    page.wait_for_selector(STILL)
    tab_to(page, say("playground.question"))
    page.keyboard.type("Finds a path through a graph, typed.")
    tab_to(page, say("playground.ask"))
    page.keyboard.press("Enter")
    expect(page.locator(".b-answer")).to_contain_text("networkx")
    page.wait_for_selector(STILL)
    tab_to(page, say("playground.approve"))
    page.keyboard.press("Space")
    expect(page.locator(".b-steps li.done")).to_have_text([say("fate.received")])
    with Ledger(installation.settings) as ledger:
        row = ledger.feedback("library", limit=1)[0]
    assert (row.kind, row.text) == ("approve", "Finds a path through a graph, typed.")

    tab_to(page, say("page.models"))
    page.keyboard.press("Enter")
    page.locator(".b-lineage").wait_for()
    page.wait_for_selector(STILL)
    tab_to(page, say("rollback.button"))
    try:
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label(say("rollback.why")).wait_for()
        tab_to(page, say("rollback.why"))
        page.keyboard.type("by keyboard")
        tab_to(page, say("rollback.yes"))
        page.keyboard.press("Enter")
        moved = page.locator(".b-timeline li", has_text=say("models.journal.rollback", to=1))
        expect(moved.first).to_be_visible()
        expect(dialog).to_be_hidden()
        with Ledger(installation.settings) as ledger:
            last = ledger.journal()[-1]
        assert (last.action, last.to_version, last.evidence) == ("rollback", 1, {"reason": "by keyboard"})
    finally:
        registry = Registry(installation.settings.mlflow_url or "")
        if registry.champion("banyan-library") != installation.models["after"]:
            with Ledger(installation.settings) as ledger:
                journal = Journal(ledger, installation.settings.workspace)
                journal.move(registry, installation.models["after"], actor="test", evidence={})
