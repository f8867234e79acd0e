"""Why an answer was given: the text with its tokens lit, what else was weighed, in both languages."""

from collections.abc import Callable

import pytest

from components.evaluation.explain import Explanation, Piece, Similar, Sure, Weighed
from dashboard.records import StoreError
from dashboard.stores import Stores
from dashboard.text import Words
from dashboard.viewmodels.why import least_sure, lit, why_view
from tests.dashboard.conftest import Draw, words_on
from tests.dashboard.installation import Installation
from tests.dashboard.test_pages import ask, button

TEXT = "Ada met Bob."


def explanation(**changes) -> dict:
    found = Explanation(
        task="classification",
        text=TEXT,
        output="networkx",
        confidence=0.62,
        pieces=(
            Piece(text="Ada", start=0, end=3, attribution=2.0, attention=(0.2, 0.4)),
            Piece(text=" met", start=3, end=7, attribution=-1.0, attention=(0.1, 0.1)),
        ),
        score=-0.5,
        blank_score=-1.5,
        completeness_error=0.004,
        method="integrated gradients",
        num_steps=16,
        attention_caution="it is no explanation",
        alternatives=(Weighed(said="networkx", probability=0.62, others=(("sympy", 0.2), ("nltk", 0.1))),),
        calibration=Sure(
            confidence=0.62, low=0.6, high=0.7, num_rows=41, score=0.56, score_low=0.4, score_high=0.7, error=0.1
        ),
        similar=(Similar(id="1", text="Ada met <b>Eve</b>", target="nltk", similarity=0.91),),
        similar_by="mean hidden states of 41 rows",
    )
    return found.model_copy(update=changes).model_dump(mode="json")


@pytest.fixture
def live(installation: Installation, environment: Callable[[dict[str, str]], None], draw: Draw) -> Draw:
    environment(installation.environment())
    return draw


def test_the_whole_text_is_there_and_the_strongest_token_fully_lit():
    found = lit(TEXT, explanation()["pieces"], [2.0, -1.0])
    assert [(one.text, one.strength) for one in found] == [("Ada", 1.0), (" met", -0.5), (" Bob.", 0.0)]
    assert "".join(one.text for one in found) == TEXT
    assert all(one.strength == 0 for one in lit(TEXT, explanation()["pieces"], [0.0, 0.0]))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_part_is_said_in_both_languages(language):
    view = why_view(explanation(), Words(language))
    assert "+1.00" in view.lead
    assert "0.004" in view.lead
    assert [bar.label for bar in view.decisions[0].bars] == ["networkx", "sympy", "nltk"]
    for part in ("62%", "41", "56%"):
        assert part in view.sure
    assert view.similar[0].label == "0.91 · nltk"
    assert view.attention[0].strength == 1.0
    assert view.masked == ""


def test_what_is_not_known_is_said_and_not_left_out():
    words = Words("en")
    view = why_view(
        explanation(attention_caution="", calibration=None, similar=(), similar_by="gone", is_masked_copy=True), words
    )
    assert view.attention == ()
    assert "no test rows" in view.sure
    assert "gone" in view.similar_by
    assert "networkx" in view.masked
    none = Sure(confidence=0.9, low=0.9, high=1, num_rows=0, score=None, score_low=None, score_high=None, error=0.1)
    assert "no test row" in why_view(explanation(calibration=none), words).sure


def test_of_a_long_answer_the_least_sure_steps_are_shown_in_their_order():
    many = [{"said": str(i), "probability": 1 - i / 100, "others": []} for i in range(20)]
    assert [one["said"] for one in least_sure(many)] == [str(i) for i in range(12, 20)]
    weighed = tuple(Weighed(said=str(i), probability=1 - i / 100, others=()) for i in range(20))
    assert "8 least sure of 20" in why_view(explanation(alternatives=weighed), Words("en")).decisions_lead


def test_an_answer_is_explained_when_somebody_asks(live: Draw, monkeypatch):
    asked = []
    monkeypatch.setattr(Stores, "explain", lambda self, request_id, *, actor: asked.append(request_id) or explanation())
    test = ask(live("playground"))
    assert asked == []
    button(test, "Explain it").click().run()
    assert not test.exception
    assert asked == [test.session_state["answered"].request_id]
    shown = words_on(test)
    assert '<mark class="for" style="--lit:100%" title="+2.000">Ada</mark>' in shown
    assert '<mark class="against"' in shown
    assert "Ada met &lt;b&gt;Eve&lt;/b&gt;" in shown
    assert "This is no explanation" in shown


def test_what_cannot_be_explained_says_why(live: Draw, monkeypatch):
    def refuse(self, request_id, *, actor):
        raise StoreError("gateway", "the prompt is kept no longer", "ask again")

    monkeypatch.setattr(Stores, "explain", refuse)
    test = ask(live("playground"))
    button(test, "Explain it").click().run()
    assert not test.exception
    assert "the prompt is kept no longer" in words_on(test)
