"""Conversations on the playground, over the real gateway; and the curves that the evolution page draws."""

import json
import time

import pytest

from components.evaluation.curves import LABEL_EFFICIENCY, keep
from components.feedback.mine import mine
from components.ledger.actions import Actor
from components.ledger.store import Ledger
from components.ledger.traffic import Traffic
from components.refs import ModelRef
from components.settings import Settings
from dashboard.replies import Refused
from dashboard.stores import Stores
from dashboard.stream_replies import pieces_of, turn_of
from dashboard.text import Words
from dashboard.viewmodels.curves import curves
from dashboard.viewmodels.shaped import shaped
from tests.dashboard.conftest import words_on
from tests.dashboard.dictated import Dictated, Dictating
from tests.dashboard.installation import gateway


def wait_until(true) -> None:
    give_up = time.monotonic() + 60
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.fixture
def talking(tmp_path, environment):
    """Settings of an installation whose only champion converses."""
    environment({"BANYAN_WORKSPACE": str(tmp_path / "workspace")})
    ref = ModelRef(name="banyan-talk", version=3, run_id="r", weights_sha256="3" * 64)
    with gateway(Settings(), {"talk": (ref, "dialogue")}) as url:
        environment({"BANYAN_GATEWAY_URL": url})
        yield Settings()


def test_a_conversation_goes_on_with_what_was_said_and_each_turn_is_rated(talking, draw):
    test = draw("playground")
    assert "Ask something about the documents here" in words_on(test)
    test.toggle[0].set_value(False).run()
    test.chat_input[0].set_value("What adds two numbers?").run()
    test.chat_input[0].set_value("And what returns them?").run()
    assert not test.exception
    turns = test.session_state["talk talk"]
    assert [turn.question for turn in turns] == ["What adds two numbers?", "And what returns them?"]
    with Ledger(talking) as ledger:
        assert "What adds two numbers?" in ledger.raw_prompt(turns[1].answered.request_id)
    test.button(key=f"approve {turns[0].answered.request_id}").click().run()
    with Ledger(talking) as ledger:
        [row] = ledger.feedback("talk", limit=5)
    assert (row.request_id, row.kind) == (turns[0].answered.request_id, "approve")
    assert "What becomes of what you said" in [one.label for one in test.expander]
    assert row.feedback_id in words_on(test)  # with its way, which the next turn does not take away
    next(one for one in test.button if one.label == "New conversation").click().run()
    assert test.session_state["talk talk"] == []


def test_a_question_that_a_click_broke_off_is_asked_anew(talking, draw):
    test = draw("playground")
    test.toggle[0].set_value(False)
    test.session_state["asked talk"] = "What adds two numbers?"
    test.run()
    assert not test.exception
    assert [turn.question for turn in test.session_state["talk talk"]] == ["What adds two numbers?"]
    assert "asked talk" not in test.session_state
    test.run()
    assert len(test.session_state["talk talk"]) == 1
    test.session_state["asked talk"] = "And what returns them?"
    next(one for one in test.button if one.label == "New conversation").click().run()
    assert (test.session_state["talk talk"], "asked talk" in test.session_state) == ([], False)


@pytest.mark.parametrize("is_verbatim", [True, False])
def test_a_passage_that_does_not_have_what_was_said_is_marked(is_verbatim, talking, draw):
    last = {
        "id": "r",
        "receipt": {},
        "citations": [
            {"number": 1, "document": "oak.md", "heading": "Oaks", "sentence": "Acorns.", "verbatim": is_verbatim}
        ],
        "retrieved": [{"number": 1, "document": "oak.md", "heading": "Oaks", "text": "Acorns. Leaves."}],
    }
    test = draw("playground")
    test.session_state["talk talk"] = [turn_of(last, "5 [1]", "talk", "How many?")]
    test.run()
    assert not test.exception
    assert "[1] oak.md, Oaks: “Acorns.”" in words_on(test)
    assert ("does not have what was said word for word" in words_on(test)) is not is_verbatim


@pytest.mark.parametrize(("table", "task"), [("talk", "dialogue"), ("summary", "summarisation")])
def test_what_breaks_off_in_the_middle_is_told_and_nothing_of_it_is_kept(table, task, environment, tmp_path, draw):
    environment({"BANYAN_WORKSPACE": str(tmp_path / "workspace")})
    ref = ModelRef(name=f"banyan-{table}", version=3, run_id="r", weights_sha256="3" * 64)
    engine = Dictating(ref, task=task, decoder=Dictated(["It drops ", "roots ", RuntimeError("the card is gone")]))
    with gateway(Settings(), {table: (ref, task)}, load=lambda *_: engine) as url:
        environment({"BANYAN_GATEWAY_URL": url})
        test = draw("playground")
        if task == "dialogue":
            test.toggle[0].set_value(False).run()
            test.chat_input[0].set_value("What does it drop?").run()
            assert (test.session_state["talk talk"], "asked talk" in test.session_state) == ([], False)
        else:
            test.text_area[0].set_value("What does it drop?")
            next(one for one in test.button if one.label == "Ask").click().run()
            assert "answered" not in test.session_state
    assert not test.exception
    assert "There is no answer" in words_on(test)
    assert not [one.value for one in test.text if "drops" in one.value]


def test_a_functions_body_keeps_its_indentation_and_goes_under_its_def(tmp_path):
    settings = Settings(BANYAN_WORKSPACE=tmp_path / "workspace")
    ref = ModelRef(name="banyan-code", version=1, run_id="r", weights_sha256="1" * 64)
    engine = Dictating(ref, task="code", decoder=Dictated(["    return", " 2"]))
    with gateway(settings, {"code": (ref, "code")}, load=lambda *_: engine) as url:
        stores = Stores(settings.model_copy(update={"gateway_url": url}))
        *_, whole = stores.stream("code", "def two():", actor=Actor("local:me", "operator"))
    assert shaped(whole, "code").pieces[0].text == "def two():\n    return 2\n"


def streamed(*contents: object, end: str = "data: [DONE]\n\n") -> list[bytes]:
    """Events as they come over a wire: cut anywhere."""
    told = "".join(f"data: {json.dumps(one, ensure_ascii=False)}\n\n" for one in contents) + end
    raw = told.encode()
    return [raw[at : at + 7] for at in range(0, len(raw), 7)]


def said(text: str | None, reason: str | None = None, **more: object) -> dict[str, object]:
    return {"id": "r", "choices": [{"delta": {"content": text}, "finish_reason": reason}], **more}


def test_a_text_is_taken_as_it_was_written_whatever_separates_its_lines():
    text = "one\u2028two\x85three\n四"
    *pieces, last = pieces_of(streamed(said(text), said(None, "stop", receipt={"request_id": "r"})))
    assert (pieces, last["receipt"]) == ([text], {"request_id": "r"})


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (streamed(said("A "), end=""), "ended before it was whole"),
        (streamed(said("A "), said(None, "cancelled", receipt={})), "ended before it was whole"),
        (streamed(said("A "), {"error": {"message": "the disk is full"}}, end=""), "the disk is full"),
    ],
)
def test_a_stream_that_ends_before_the_text_is_whole_is_refused(told, why):
    pieces = pieces_of(told)
    assert next(pieces) == "A "
    with pytest.raises(Refused, match=why):
        next(pieces)


def test_without_documents_to_look_into_it_is_said_why_there_is_no_answer(talking, draw):
    test = draw("playground")
    test.chat_input[0].set_value("What adds two numbers?").run()
    assert not test.exception
    assert "there is no data version yet" in words_on(test)


def test_who_asks_at_the_dashboard_is_who_speaks_of_the_answer_in_every_way_of_asking(tmp_path):
    settings, ben = Settings(BANYAN_WORKSPACE=tmp_path / "workspace"), Actor("ben", "rater", subject="ben@example.org")
    one, other = (ModelRef(name="banyan-talk", version=v, run_id="r", weights_sha256=f"{v}" * 64) for v in (3, 4))
    with gateway(settings, {"talk": (one, "dialogue")}) as url, Ledger(settings) as ledger:
        Traffic(ledger, settings.workspace).set(other, kind="shadow", percent=100, actor="me")
        stores = Stores(settings.model_copy(update={"gateway_url": url}))
        wait_until(lambda: stores.seats()[0].has_challenger)
        given = [stores.ask("talk", "a", actor=ben), *stores.compare("talk", "b", actor=ben)]
        given += [one for one in stores.stream("talk", "c", actor=ben) if not isinstance(one, str)]
        given += [one.answered for one in stores.converse("talk", "d", before=(), passages=0, actor=ben)
                  if not isinstance(one, str)]  # fmt: skip
        said = [stores.give_feedback(one.request_id, actor=ben, kind="approve") for one in given]
        subjects = {ledger.answer(one.request_id).subject for one in given}
        assert subjects == {ledger.feedback_row(one).subject for one in said} == {ledger.pseudonym("ben@example.org")}
        assert len(mine(ledger, given[0].request_id)) == len(given) == 5
        local = stores.ask("talk", "a", actor=Actor("local:me", "operator"))
        assert ledger.answer(local.request_id).subject is None


FINDING = {
    "seeds": 2,
    "label_efficiency": [
        {"task": "kind", "base": base, "rows": rows, "test": [mean, mean - 0.1, mean + 0.1], "other": [0.5, 0.4, 0.6]}
        for base, mean in (("pretrained", 0.8), ("lstm", 0.6), ("tf-idf", 0.7))
        for rows in (50, 200)
    ],
}


def test_curves_are_of_a_task_and_a_domain_each_and_say_their_range():
    found = curves(FINDING, Words("en"))
    assert [one.title for one in found] == [
        "Class, function or method · own domain",
        "Class, function or method · another domain",
    ]
    assert [curve.kind for curve in found[0].curves] == ["a", "c", "d"]
    assert found[0].rows[0] == ("pretrained (MiniLM)", "80.0%\n70–90%", "80.0%\n70–90%")
    assert found[0].curves[0].points[0] == (50.0, 0.8, 0.7000000000000001, 0.9)
    assert [one.floor for one in found] == [0.4, 0.4]  # of the other domain's least: two axes would not compare


@pytest.mark.parametrize("finding", [{}, {"label_efficiency": [{"task": "kind"}]}, {"label_efficiency": [1]}])
def test_a_finding_that_is_none_draws_nothing(finding):
    assert curves(finding, Words("en")) == ()


def test_the_evolution_page_draws_what_was_measured_here(talking, draw):
    assert "预训练（MiniLM）" not in words_on(draw("evolution", language="zh"))
    keep(LABEL_EFFICIENCY, FINDING, settings=talking)
    assert Stores(talking).finding(LABEL_EFFICIENCY)["seeds"] == 2
    from dashboard.state import memory

    memory().forget()
    assert "预训练（MiniLM）" in words_on(draw("evolution", language="zh"))
