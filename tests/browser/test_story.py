"""The whole story in a browser, on a whole stack, in both languages: ask, rate, see the fate, watch, promote, go back.

Whatever happens between two steps the platform does: its relay rings, its worker trains, its gate judges, its journal
moves. Each step is kept as a picture in `screenshots` (or in the folder that STORY_SHOTS names), to be looked at.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, TimeoutError, expect

from components.ledger.store import Ledger
from dashboard.evidence import TABS
from dashboard.text import LANGUAGES, Language, Words
from tests.browser.conftest import Open
from tests.browser.shop import TABLE, Shop, messages

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1500)]
SHOTS = Path(os.environ.get("STORY_SHOTS") or Path(__file__).parent / "screenshots")
STILL = "[data-testid=stApp][data-test-script-state=notRunning]"
PATIENCE_MS = 420_000
"""Of whatever a training, or a machine with other things to do, may hold up."""
MODEL = f"banyan-{TABLE}"
REASON = "the old one was kinder"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    try:
        made.open()
        yield made
    finally:
        left = made.close()
    assert left == []


@pytest.fixture
def patient() -> Iterator[None]:
    """Whatever is expected of a page may take as long as a training."""
    expect.set_options(timeout=PATIENCE_MS)
    yield
    expect.set_options(timeout=5_000)


class Story:
    """One session, page after page, each kept as a picture."""

    def __init__(self, page: Page) -> None:
        self.page, self.words, self.num_shots = page, Words("en"), 0
        page.set_default_timeout(PATIENCE_MS)

    def to(self, name: str) -> None:
        link = self.page.get_by_test_id("stSidebar").get_by_role("link", name=self.words(f"page.{name}"), exact=True)
        link.click()
        expect(self.page.locator(".b-title")).to_have_text(self.words(f"page.{name}"))
        self.page.wait_for_selector(STILL)

    def speak(self, language: Language) -> None:
        """By the switch on the page."""
        title = self.page.locator(".b-title").inner_text()
        self.page.get_by_test_id("stSidebar").get_by_text(LANGUAGES[language]).click()
        expect(self.page.locator(".b-title")).not_to_have_text(title)
        self.words = Words(language)
        self.page.wait_for_selector(STILL)

    def button(self, key: str) -> Locator:
        """By what stands on it: the name of a help has the same words in it."""
        return self.page.locator("button").filter(has_text=self.words(key)).first

    def sees(self, selector: str, text: str) -> Locator:
        found = self.page.locator(selector).filter(has_text=text).first
        expect(found).to_be_visible()
        return found

    def sees_own(self, fate: str) -> None:
        """What became of what this session said last, on the page of feedback."""
        steps = self.page.locator(".b-steps li.done").filter(has_text=self.words(fate)).first
        opener = self.page.get_by_text(self.words("feedback.lookup"), exact=True)
        expect(opener).to_be_visible()
        self.page.wait_for_selector(STILL)
        if not self.page.get_by_label(self.words("feedback.lookup.id")).is_visible():
            opener.click()
        expect(steps).to_be_visible()

    def asks(self, text: str) -> str:
        """In the playground; the answer."""
        thumbs = self.page.locator("[class*='st-key-reject-']").first  # a new answer has its own
        before = thumbs.get_attribute("class") if thumbs.count() else ""
        self.page.locator("textarea").first.fill(text)
        self.button("playground.ask").click()
        expect(thumbs).not_to_have_class(before or "none")
        self.page.wait_for_selector(STILL)
        return self.page.locator(".b-answer .o").inner_text()

    def is_told_wrong(self, said: Iterator[tuple[str, str]]) -> tuple[str, str]:
        """Asks until an answer is wrong; the text and what is right."""
        return next((text, label) for text, label in said if self.asks(text) != label)

    def chooses(self, box: Locator, option: str, *, until: Locator) -> None:
        """In a list; one that is open while the page draws itself anew closes again."""
        while not until.is_visible():
            box.click()
            with contextlib.suppress(TimeoutError):
                self.page.get_by_role("option").filter(has_text=option).first.click(timeout=5_000)
                until.wait_for(timeout=20_000)

    def keep(self, name: str) -> None:
        """The whole page, which scrolls inside itself."""
        self.num_shots += 1
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_selector(STILL)
        height = 0
        while height < (now := self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")):
            height = max(900, now)  # what has just been opened is still growing
            self.page.set_viewport_size({"width": 1280, "height": height})
            self.page.wait_for_timeout(200)
        self.page.screenshot(path=SHOTS / f"story-{self.num_shots:02d}-{name}-{self.words.language}.png")
        self.page.set_viewport_size({"width": 1280, "height": 900})


def until_answered_by(shop: Shop, version: int) -> None:
    """The gateway follows the journal within seconds."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (answered := shop.ask("Hello: do you still sell the rake?")[1]) != version:
        assert time.monotonic() < deadline, f"v{answered} answers, and not v{version}"
        time.sleep(0.3)


def test_people_correct_a_model_a_better_one_takes_over_and_an_operator_takes_it_back(
    shop: Shop, open_at: Open, patient: None
) -> None:
    story = Story(open_at("playground", url=shop.dashboard))
    text = rate_and_correct(story)
    learn(story, shop)
    see_the_better_model(story, shop, text)
    story.speak("zh")
    look_at_the_evidence(story, shop)
    roll_back(story, shop, text)
    ask_in_vain(story)
    story.speak("en")
    for name in ("ecosystem", "models", "runs", "feedback", "cost"):
        story.to(name)
        story.keep("in-the-end")
    with Ledger(shop.settings) as ledger:
        moves = [move for move in ledger.journal(MODEL) if (move.alias, move.state) == ("champion", "done")]
    assert [(move.action, move.to_version) for move in moves] == [("promote", 1), ("promote", 2), ("rollback", 1)]
    assert moves[-1].evidence == {"reason": REASON}


def rate_and_correct(story: Story) -> str:
    """A thumb down, then a correction, and where it stands; the text that was corrected."""
    page, say, said = story.page, story.words, messages(seed=7)
    story.is_told_wrong(said)
    story.keep("asked")
    story.button("playground.reject").click()
    story.sees(".b-steps li.done", say("fate.received"))
    story.keep("thumb-down")
    text, label = story.is_told_wrong(said)
    send = page.locator("button:enabled", has_text=say("playground.send"))
    story.chooses(page.get_by_role("combobox").first, label, until=send)
    story.keep("correcting")
    send.click()
    story.sees(".b-steps li.done", say("fate.received"))
    story.keep("corrected")
    story.to("feedback")
    story.sees_own("fate.received")
    expect(page.locator(".b-steps li.done")).to_have_count(1)
    story.keep("own-feedback")
    return text


def learn(story: Story, shop: Shop) -> None:
    """Others speak, it is enough, a retraining begins by itself and is watched to its end."""
    page, say = story.page, story.words
    story.to("runs")
    shop.others_speak()
    retraining = f"{say('flow.retrain')}: {TABLE}"
    mine = page.locator(".b-row").filter(has_text=retraining)
    expect(mine.filter(has=page.locator(".s-working")).first).to_contain_text(say("runs.by.automation"))
    story.keep("rung")
    # In the list of runs it is the newest; whatever is chosen there already stays chosen.
    story.chooses(
        page.get_by_role("combobox").last, retraining, until=page.locator(".b-bars", has_text=say("step.claim"))
    )
    ended = mine.filter(has=page.locator(".s-ready")).first
    # A curve has two points before its training is over, unless the page was too slow to be drawn meanwhile.
    expect(page.locator("svg .series polyline:visible").first.or_(ended).first).to_be_visible()
    story.keep("training")
    expect(ended).to_be_visible()
    story.sees(".b-bars", say("step.promote"))
    page.get_by_text(say("runs.log"), exact=True).click()
    story.sees(".b-pre", "promote")
    story.keep("trained")


def see_the_better_model(story: Story, shop: Shop, text: str) -> None:
    say = story.words
    story.to("models")
    story.sees(".b-timeline li", say("models.journal.promote", to=2, previous=1))
    story.sees(".b-card", say("models.verdict.promote", version=2))
    story.keep("promoted")
    until_answered_by(shop, 2)
    story.to("playground")
    story.asks(text)
    story.sees(".b-answer", f"{MODEL} v2")
    story.keep("asked-again")
    story.to("feedback")
    story.sees_own("fate.measured")
    story.keep("own-feedback-measured")


def look_at_the_evidence(story: Story, shop: Shop) -> None:
    """What was just seen, in the other language, and the gate's evidence, drawn."""
    page, say = story.page, story.words
    story.sees_own("fate.measured")
    story.keep("own-feedback-measured")
    story.to("runs")
    story.sees(".b-row", f"{say('flow.retrain')}: {TABLE}")
    story.keep("runs")
    story.to("data")
    story.sees(".b-tile", say("data.rows"))
    story.keep("data")
    story.to("models")
    story.sees(".b-timeline li", say("models.journal.promote", to=2, previous=1))
    for tab in TABS:
        page.get_by_role("tab", name=say(f"gate.tab.{tab}")).click()
        story.keep(f"gate-{tab}")


def roll_back(story: Story, shop: Shop, text: str) -> None:
    page, say = story.page, story.words
    story.button("rollback.button").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(say("rollback.why")).fill(REASON)
    expect(dialog.get_by_text("Enter")).to_be_hidden()  # what Streamlit says in English alone
    story.keep("rolling-back")
    dialog.get_by_role("button", name=say("rollback.yes")).click()
    expect(dialog).to_be_hidden()
    story.sees(".b-timeline li", say("models.journal.rollback", to=1))
    story.keep("rolled-back")
    until_answered_by(shop, 1)
    story.to("playground")
    story.asks(text)
    story.sees(".b-answer", f"{MODEL} v1")
    story.keep("asked-after-all")
    story.to("feedback")
    back = story.sees(".b-tile", say("measures.back"))
    expect(back.locator(".v")).to_have_text(re.compile(r"\d"))
    story.keep("going-back")


def ask_in_vain(story: Story) -> None:
    """An operator asks for a retraining, for which there is nothing new; all that was asked for is kept."""
    say = story.words
    story.to("runs")
    story.button("runs.retrain.button").click()
    story.button("runs.retrain.yes").click()
    by_hand = story.page.locator(".b-row", has_text=say("runs.by.dashboard")).first
    expect(by_hand).to_contain_text(say("runs.outcome.NotEnoughFeedback"))
    story.keep("by-hand")
    story.to("cost")
    story.sees(".b-timeline li", say("action.rollback", subject=f"{MODEL} v1"))
    story.keep("who-did-what")
    story.to("ecosystem")
    story.keep("ecosystem")
