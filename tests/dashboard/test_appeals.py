"""Overruling a refusal at the feedback page: a button for operators, refused on the server side to everybody else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from components.feedback import reasons
from components.ledger.actions import Actor
from components.ledger.schema import FATES, Role
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings
from dashboard import roles
from dashboard.records import StoreError
from dashboard.stores import Stores
from dashboard.text import Words
from dashboard.viewmodels.playground import fate_steps
from tests.dashboard.conftest import Draw, words_on

MODEL = ModelRef(name="banyan-library", version=1, run_id="r", weights_sha256="1" * 64)
BURST, FACT = "burst-row", "fact-row"


@pytest.fixture
def stores(environment: Callable[[dict[str, str]], None], tmp_path: Path) -> Stores:
    """A ledger of its own with two refused rows, one for a judgement and one for a fact; no services."""
    nowhere = {f"BANYAN_{name}_URL": "http://127.0.0.1:9" for name in ("MLFLOW", "PREFECT", "GATEWAY")}
    environment({"BANYAN_WORKSPACE": str(tmp_path / "workspace"), **nowhere})
    settings = Settings()
    with Ledger(settings, mask=list) as ledger:
        for feedback_id, reason in ((BURST, reasons.BURST), (FACT, reasons.IN_TEST), ("fresh-row", "")):
            ledger.record_answer(
                f"request of {feedback_id}", table="library", model=MODEL, template_sha256="7" * 64, generation={},
                text=f"text of {feedback_id}", output="django", seconds=0.1,
            )  # fmt: skip
            ledger.record_feedback(
                feedback_id, request_id=f"request of {feedback_id}", kind="correct", correction="mne", channel="api"
            )
            if reason:
                ledger.append_fates([ledger.fate(feedback_id, "refused", reason=reason)])
    return Stores(settings)


def seen_by(role: Role, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr(roles, "visitor", lambda: Actor(f"{role}@example.org", role))
    return draw("feedback")


def appeal_buttons(test: AppTest) -> list[str]:
    return [button.key for button in test.button if (button.key or "").startswith("appeal ")]


@pytest.mark.parametrize("role", ["viewer", "rater"])
def test_others_than_operators_see_no_button_and_are_told_whom_to_ask(
    role: Role, stores: Stores, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = seen_by(role, draw, monkeypatch)
    assert appeal_buttons(test) == []
    assert "can be overruled by an operator" in words_on(test)


def test_an_operator_finds_a_button_beside_a_refusal_that_is_a_judgement_which_asks_why(
    stores: Stores, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = seen_by("operator", draw, monkeypatch)
    assert appeal_buttons(test) == [f"appeal {BURST}"], "what was refused for a fact has none"
    test.button(key=f"appeal {BURST}").click().run()
    assert not test.exception
    assert Words("en")("appeal.why") in [one.label for one in test.text_input]
    assert stores.fate_of(BURST)[-1].fate == "refused", "asked twice"


def dialog(language: str) -> AppTest:
    """What stands in the dialog, as a page: AppTest runs no dialog by itself."""

    def page(feedback_id: str, language: str) -> None:
        from dashboard.appeals import form
        from dashboard.state import stores
        from dashboard.text import Words

        (row,) = [row for row in stores().feedback("library") if row.feedback_id == feedback_id]
        form(row, Words(language))  # type: ignore[arg-type]

    return AppTest.from_function(page, args=(BURST, language), default_timeout=60).run()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_operator_overrules_a_refusal_with_a_reason_and_not_without(
    language: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = Words(language)  # type: ignore[arg-type]
    monkeypatch.setattr(roles, "visitor", lambda: Actor("ana@example.org", "operator"))
    test = dialog(language)
    test.button[0].click().run()
    assert say("appeal.blank") in words_on(test)
    assert stores.actions() == ()
    test.text_input[0].set_value("one person, a whole lab")
    test.button[0].click().run()
    assert not test.exception
    now = stores.fate_of(BURST)[-1]
    assert (now.fate, now.effect) == ("received", {"why": "one person, a whole lab"})
    (asked,) = stores.actions()
    assert (asked.action, asked.subject, asked.actor, asked.outcome) == ("appeal", BURST, "ana@example.org", "done")
    assert say.named("reason", now.reason) in words_on(test), "and the row says so"


def test_who_was_no_operator_any_more_when_they_confirmed_is_told_so(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "visitor", lambda: Actor("ben@example.org", "rater"))
    test = dialog("en")
    test.text_input[0].set_value("I am right")
    test.button[0].click().run()
    assert "needs the role operator" in words_on(test)
    assert stores.fate_of(BURST)[-1].fate == "refused"


@pytest.mark.parametrize("role", ["viewer", "rater"])
def test_an_appeal_that_no_page_offered_is_refused_and_written_down(role: Role, stores: Stores) -> None:
    with pytest.raises(StoreError, match="needs the role operator"):
        stores.appeal(BURST, why="I am right", actor=Actor("eve@example.org", role))
    assert [step.fate for step in stores.fate_of(BURST)] == ["received", "refused"]
    assert [(row.action, row.outcome, row.actor) for row in stores.actions()] == [
        ("appeal", "refused", "eve@example.org")
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_way_of_a_row_keeps_the_refusal_that_was_overruled_and_says_why(language: str, stores: Stores) -> None:
    say = Words(language)  # type: ignore[arg-type]
    stores.appeal(BURST, why="one person, a whole lab", actor=Actor("ana@example.org", "operator"))
    steps = fate_steps(stores.fate_of(BURST), say)
    names = ["received", "refused", *(fate for fate in FATES if fate != "refused")]
    assert [step.title for step in steps] == [say(f"fate.{name}") for name in names]
    assert [step.is_done for step in steps] == [True] * 3 + [False] * 3
    assert steps[1].detail == say.named("reason", reasons.BURST)
    assert "one person, a whole lab" in steps[2].detail and "ana" not in steps[2].detail
    with pytest.raises(StoreError, match="a fact and not a judgement"):
        stores.appeal(FACT, why="it is right", actor=Actor("ana@example.org", "operator"))
