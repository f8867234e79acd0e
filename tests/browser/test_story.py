"""The whole story in a browser, in both languages: ask, rate, see the fate, trigger, watch, promote, roll back.

Nothing trains here: where a worker would end a run by a promotion, the journal is moved as that run would move it.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.registry import Registry
from dashboard.stores import Stores
from dashboard.text import Language, Words
from tests.browser.conftest import PATIENCE_MS, Open
from tests.dashboard.installation import Installation

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SHOTS = Path(os.environ.get("STORY_SHOTS") or Path(__file__).parent / "screenshots")
STILL = "[data-testid=stApp][data-test-script-state=notRunning]"


class Story:
    """One session, page after page, each kept as a picture."""

    def __init__(self, page: Page, words: Words) -> None:
        self.page, self.words, self.num_shots = page, words, 0

    def to(self, name: str) -> None:
        self.page.get_by_test_id("stSidebar").get_by_role("link", name=self.words(f"page.{name}"), exact=True).click()
        expect(self.page.locator(".b-title")).to_have_text(self.words(f"page.{name}"), timeout=PATIENCE_MS)
        self.page.wait_for_selector(STILL)

    def click(self, key: str) -> None:
        self.page.get_by_role("button", name=self.words(key)).first.click()

    def sees(self, selector: str, text: str) -> None:
        expect(self.page.locator(selector).filter(has_text=text).first).to_be_visible(timeout=PATIENCE_MS)

    def keep(self, name: str) -> None:
        self.num_shots += 1
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"story-{self.words.language}-{self.num_shots}-{name}.png")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_from_a_question_to_a_better_model_and_back(
    language: Language, open_page: Open, installation: Installation
) -> None:
    words = Words(language)
    story = Story(open_page("playground", language=language), words)
    page = story.page

    page.locator("textarea").fill("Finds the shortest path in a graph.")
    story.click("playground.ask")
    story.sees(".b-answer", "networkx")
    story.keep("asked")
    story.click("playground.approve")
    story.sees(".b-steps li.done", words("fate.received"))
    story.keep("rated")

    with Ledger(installation.settings) as ledger:
        mine = ledger.feedback("library", limit=1)[0]
        ledger.append_fates([ledger.fate(mine.feedback_id, "admitted", data_version="9ab1c2d3e4")])
    story.sees(".b-steps li.done", words("fate.admitted"))  # live, without a reload
    story.keep("fate")

    story.to("runs")
    page.get_by_test_id("stBaseButton-primary").click()
    story.click("runs.retrain.yes")
    story.sees(".b-row", words("runs.waits"))
    story.keep("triggered")

    with Ledger(installation.settings) as ledger:
        registry = Registry(installation.settings.mlflow_url or "")
        journal = Journal(ledger, installation.settings.workspace)
        journal.move(registry, installation.models["before"], actor="gate", evidence={"verdict": "promote"})
    try:
        story.to("models")
        story.sees(".b-timeline li", words("models.journal.promote", to=1, previous=3))
        story.keep("promoted")
        story.click("rollback.button")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label(words("rollback.why")).fill("it was slower")
        dialog.get_by_role("button", name=words("rollback.yes")).click()
        expect(dialog).to_be_hidden(timeout=PATIENCE_MS)  # the timeline shows the move before it is finished
        story.sees(".b-timeline li", words("models.journal.rollback", to=3))
        story.keep("rolled-back")
    finally:
        if Registry(installation.settings.mlflow_url or "").champion("banyan-library").version != 3:  # type: ignore[union-attr]
            with Ledger(installation.settings) as ledger:
                Journal(ledger, installation.settings.workspace).move(
                    registry, installation.models["after"], actor="test", evidence={}
                )
    move = Stores(installation.settings).ledger().journal[-1]
    assert (move.action, move.to_version, move.evidence) == ("rollback", 3, {"reason": "it was slower"})
    story.to("cost")
    story.sees(".b-timeline li", words("action.rollback", subject="banyan-library v3"))
    story.keep("who-did-what")
