"""Every page on real stores, in both languages, without a browser."""

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components.ledger.store import Ledger
from dashboard.app import PAGES
from dashboard.stores import PAGE_ROWS, Stores
from dashboard.text import Words
from tests.dashboard.conftest import Draw, words_on
from tests.dashboard.installation import Installation

Use = Callable[[dict[str, str]], None]


@pytest.fixture
def live(installation: Installation, environment: Use, draw: Draw) -> Draw:
    environment(installation.environment())
    return draw


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_the_stores_have(page: str, language: str, live: Draw) -> None:
    shown = words_on(live(page, language=language))
    assert shown.count("b-box s-failed") == (page == "data")  # the build that was kept out
    assert "b-box s-stale" not in shown
    expected = {
        "ecosystem": "57.3%",
        "evolution": "library v1–v3",
        "models": "55.8%",
        "data": "BSD-3-Clause",
        "runs": "NonFiniteLoss: loss is nan at step 12",
        "playground": "b-title",
        "feedback": Words(language)("reason.in the test split"),
        "cost": Words(language)("cost.estimated"),
    }
    assert expected[page] in shown


def test_the_language_is_switched_in_the_sidebar_and_stays(live: Draw) -> None:
    test = live("models")
    assert "Which model answers" in words_on(test)
    test.segmented_control(key="language").set_value("zh").run()
    assert "每个应用由哪个模型回答" in words_on(test)
    test.switch_page("views/data.py").run()
    assert "模型从什么中学习" in words_on(test)


def test_the_loop_says_what_runs_and_what_failed(live: Draw) -> None:
    shown = words_on(live("ecosystem"))
    assert "n-training s-working" in shown
    assert "n-optimisation s-failed" in shown
    assert "n-deployment s-ready" in shown
    assert "n-feedback s-waiting" in shown


def test_the_models_page_shows_before_after_control_and_baseline(live: Draw) -> None:
    shown = words_on(live("models"))
    for label in ("Champion v3", "Before: v1", "Control v2", "Plain baseline"):
        assert label in shown
    assert "+10.2 points, 95% interval +7.1 to +13.3 points, 1,000 examples" in shown
    assert "v3 took over from v1" in shown


def test_another_model_can_be_looked_at(live: Draw) -> None:
    test = live("models")
    control(test, "Application").set_value("banyan-gpt").run()
    assert "bits per byte" in words_on(test)
    assert "Lower is better" in words_on(test)


def test_a_build_that_was_kept_out_is_said_while_the_good_version_stands(live: Draw) -> None:
    shown = words_on(live("data"))
    assert "A build was kept out" in shown
    assert "The last good version stands" in shown
    assert "checks passed" in shown


def button(test: AppTest, label: str) -> Any:
    return next(one for one in test.button if one.label == label)


def control(test: AppTest, label: str) -> Any:
    return next(one for one in test.segmented_control if one.label == label)


def ask(test: AppTest) -> AppTest:
    test.text_area[0].set_value("Returns the shortest path between two nodes.").run()
    test.button[0].click().run()
    assert not test.exception
    return test


def test_an_answer_comes_with_confidence_alternatives_and_receipt(live: Draw) -> None:
    shown = words_on(ask(live("playground")))
    assert "62% sure · banyan-library v3" in shown
    assert "sympy" in shown
    assert "7" * 64 in shown  # the template's hash


def test_a_correction_is_a_label_and_reaches_the_ledger(installation: Installation, live: Draw) -> None:
    test = ask(live("playground"))
    request_id = test.session_state["answered"].request_id
    choices = test.selectbox[0].options
    assert "networkx" not in choices  # the answer that was given is no correction of itself
    test.selectbox[0].set_value("nltk").run()
    button(test, "Send the correction").click().run()
    assert "What became of your feedback" in words_on(test)
    with Ledger(installation.settings) as ledger:
        row = ledger.feedback("library", limit=1)[0]
    assert (row.request_id, row.kind, row.correction, row.channel) == (request_id, "correct", "nltk", "dashboard")


@pytest.mark.parametrize(("label", "kind"), [("It is right", "approve"), ("It is wrong", "reject")])
def test_a_thumb_reaches_the_ledger_once(label: str, kind: str, installation: Installation, live: Draw) -> None:
    test = ask(live("playground"))
    request_id = test.session_state["answered"].request_id
    button(test, label).click().run()
    with Ledger(installation.settings) as ledger:
        rows = [row for row in ledger.feedback("library", limit=5) if row.request_id == request_id]
    assert [row.kind for row in rows] == [kind]
    assert not [one for one in test.button if one.label == label]


def test_stars_and_the_comment_beside_them_are_one_row(installation: Installation, live: Draw) -> None:
    test = ask(live("playground"))
    request_id = test.session_state["answered"].request_id
    test.text_input(key=f"comment {request_id}").set_value("nearly, but too general").run()
    test.feedback(key=f"stars {request_id}").set_value(3).run()
    with Ledger(installation.settings) as ledger:
        [row] = [row for row in ledger.feedback("library", limit=5) if row.request_id == request_id]
    assert (row.kind, row.rating, row.comment) == ("rate", 4, "nearly, but too general")
    assert "What became of your feedback" in words_on(test)


def test_a_comment_can_be_all_that_somebody_says(installation: Installation, live: Draw) -> None:
    test = ask(live("playground"))
    request_id = test.session_state["answered"].request_id
    assert button(test, "Send only the comment").disabled
    test.text_input(key=f"comment {request_id}").set_value("what is it for?").run()
    button(test, "Send only the comment").click().run()
    with Ledger(installation.settings) as ledger:
        [row] = [row for row in ledger.feedback("library", limit=5) if row.request_id == request_id]
    assert (row.kind, row.rating, row.comment, row.correction) == ("comment", None, "what is it for?", None)


def test_nothing_is_asked_when_nothing_was_written(installation: Installation, live: Draw) -> None:
    test = live("playground")
    test.button[0].click().run()
    assert "Write something first" in words_on(test)


def test_a_retraining_is_asked_about_before_it_starts(installation: Installation, live: Draw) -> None:
    def num_runs() -> int:
        return len(Stores(installation.settings).orchestration().runs)

    before = num_runs()
    test = live("runs")
    assert "Retrain library now?" not in words_on(test)
    button(test, "Retrain").click().run()
    assert "Retrain library now?" in words_on(test)
    assert num_runs() == before


def test_all_of_ones_own_feedback_is_found_by_one_id(live: Draw) -> None:
    test = live("feedback")
    bare = words_on(test).count('class="b-row"')
    test.text_input[0].set_value("feedback-0000").run()
    shown = words_on(test)
    assert "Said by you: 60." in shown
    assert "Received → Admitted to the data (data version" in shown
    assert shown.count('class="b-row"') == bare + PAGE_ROWS
    button(test, "More of mine").click().run()
    shown = words_on(test)
    assert shown.count('class="b-row"') == bare + 2 * PAGE_ROWS
    assert "Trained on (banyan-library v3) → Effect measured (" in shown
    test.text_input[0].set_value("feedback-none").run()
    assert "There is no feedback feedback-none" in words_on(test)


def test_feedback_is_narrowed_by_its_fate_and_turned_by_the_page(live: Draw) -> None:
    test = live("feedback")
    button(test, "Older rows").click().run()
    assert "Newest rows" in [one.label for one in test.button]
    control(test, "Show").set_value("refused").run()
    shown = words_on(test)
    assert shown.count("b-pill s-failed") == 5
    assert "b-pill s-ready" not in shown
    control(test, "Show").set_value("admitted").run()
    assert "b-pill s-failed" not in words_on(test)  # the story in the browser leaves an admitted row of its own
