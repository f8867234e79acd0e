"""Answers take the shape of their task, and one that is not what its task promises is shown as it came."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from components.tasks.entities import Entities
from dashboard.records import Answered
from dashboard.text import Words
from dashboard.viewmodels import shaped as shapes
from dashboard.viewmodels.playground import answer_view, right_labels
from dashboard.viewmodels.shaped import Piece, correction_kind, examples, shaped, writes


def answered(question: str, output: str) -> Answered:
    return Answered("r", "t", question, output, 0.9, (), {"model": "m", "version": 1})


def test_entities_are_marked_where_they_stand() -> None:
    text = "Use pandas, not Excel."
    spans = [{"start": 16, "end": 21, "text": "Excel", "type": "product"}, {"start": 4, "end": 10, "type": "library"}]
    found = shaped(answered(text, json.dumps(spans)), "entities")
    assert found.pieces == (
        Piece("Use "), Piece("pandas", "library"), Piece(", not "), Piece("Excel", "product"), Piece("."),
    )  # fmt: skip


def test_spans_that_overlap_or_lie_outside_lose_no_text() -> None:
    spans = [
        {"start": 0, "end": 3, "type": "a"},
        {"start": 2, "end": 5, "type": "b"},
        {"start": 4, "end": 99, "type": "c"},
    ]
    found = shaped(answered("abcdef", json.dumps(spans)), "entities")
    assert "".join(piece.text for piece in found.pieces) == "abcdef"
    assert [piece.mark for piece in found.pieces if piece.mark] == ["a"]


def test_no_entities_is_said() -> None:
    assert shaped(answered("nothing here", "[]"), "entities").is_empty


def test_names_that_a_model_wrote_are_marked_where_they_stand() -> None:
    found = shaped(answered("Use pandas, not Excel.", "pandas | library\nnumpy | library"), "entities_prompt")
    assert [piece for piece in found.pieces if piece.mark] == [Piece("pandas", "library")]
    assert shaped(answered("Use pandas.", "none"), "entities_prompt").is_empty
    found = shaped(answered("Why?\nIt rains.", "rains"), "question_answering_prompt")
    assert [piece.text for piece in found.pieces if piece.mark] == ["rains"]
    assert shaped(answered("Why?\nIt rains.", "no answer"), "question_answering_prompt").is_empty


def test_a_new_tasks_file_brings_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    class Places(Entities):
        name = "places"

    monkeypatch.setattr(shapes, "all_tasks", lambda: (Places(),))
    found = shaped(answered("in Rome", '[{"start": 3, "end": 7, "type": "city"}]'), "places")
    assert found.pieces == (Piece("in "), Piece("Rome", "city"))
    assert correction_kind("places", has_labels=False) == "lines"
    assert shaped(answered("in Rome", "Rome"), "unheard-of").kind == "text"


def test_a_correction_takes_the_form_of_its_tasks_answers() -> None:
    assert correction_kind("multilabel", has_labels=True) == "labels"
    assert correction_kind("classification", has_labels=True) == "label"
    assert correction_kind("code", has_labels=False) == "lines"
    assert correction_kind("summarisation", has_labels=False) == "line"
    assert writes("entities_prompt")
    assert not writes("entities")


def test_a_body_is_corrected_in_a_box_of_several_lines_that_begins_with_what_was_said() -> None:
    def page() -> None:
        from unittest import mock

        from dashboard import panels
        from dashboard.records import Answered, Seat
        from dashboard.text import Words

        seat = Seat("programs", "ready", "", "banyan-programs", 1, "code", "", ())
        said = Answered("r", "programs", "def f():", "    pass\n    return 1", 0.9, (), {"model": "m", "version": 1})
        with mock.patch("dashboard.people.can", return_value=True):
            panels.judge(said, seat, Words("en"))

    test = AppTest.from_function(page, default_timeout=60).run()
    assert not test.exception
    [box] = test.text_area
    send = next(one for one in test.button if one.label == "Send the correction")
    assert (box.value, send.disabled) == ("    pass\n    return 1", True)
    box.set_value("    return 2").run()
    assert not next(one for one in test.button if one.label == "Send the correction").disabled


def test_an_answer_is_marked_in_its_context() -> None:
    text = "What is alpha?\nDamping, default=0.85. More."
    start = text.index("0.85")
    said = json.dumps({"answer": "0.85", "start": start, "end": start + 4})
    found = shaped(answered(text, said), "question_answering")
    assert found.question == "What is alpha?"
    assert [piece.text for piece in found.pieces if piece.mark] == ["0.85"]
    assert "".join(piece.text for piece in found.pieces) == "Damping, default=0.85. More."


def test_a_context_without_an_answer_says_so() -> None:
    found = shaped(answered("Why?\nBecause.", '{"answer": null}'), "question_answering")
    assert found.is_empty
    assert found.pieces == (Piece("Because."),)


def test_code_goes_on_where_the_prompt_ends() -> None:
    found = shaped(answered('def two():\n    """Two."""', "    return 2"), "code")
    assert found.pieces[0].text == 'def two():\n    """Two."""\n    return 2\n'


def test_the_examples_of_a_prompt_are_its_docstrings() -> None:
    assert examples('def f(x):\n    """F.\n\n    >>> f(1)\n    2\n    """').endswith(">>> f(1)\n2")
    assert examples('def f(x):\n    """F."""') == ""
    assert examples("not python at all (") == ""


def test_what_is_not_in_the_tasks_form_is_shown_as_it_came() -> None:
    for task in ("entities", "question_answering"):
        assert shaped(answered("a text", "I do not know."), task).pieces == (Piece("I do not know."),)


def test_of_a_set_of_labels_those_that_were_said_stand_out_and_none_is_a_correction_too() -> None:
    weighed = (("loops", 0.9), ("raises", 0.7), ("yields", 0.1))
    receipt = {"model": "m", "version": 1, "request_id": "r"}
    one = Answered("r", "t", "what?", '["loops", "raises"]', 0.6, weighed, receipt)
    view = answer_view(one, Words("en"))
    assert [bar.tone for bar in view.alternatives] == ["strong", "strong", "plain"]
    assert (
        answer_view(Answered("r", "t", "what?", "loops", 0.6, weighed, receipt), Words("en")).alternatives[0].tone
        == "strong"
    )
    assert right_labels(["yields"], none="(none)") == '["yields"]'
    assert right_labels(["(none)"], none="(none)") == "[]"
    assert right_labels([], none="(none)") is None


def test_a_receipt_says_parity_in_words_and_shows_no_dict() -> None:
    parity = {"largest_difference": 1.61e-06, "mean_difference": 4e-08, "tolerance": 0.001, "num_probes": 112}
    receipt = {"model": "m", "version": 1, "request_id": "r", "generation": {"engine": "openvino", "parity": parity}}
    view = answer_view(Answered("r", "t", "what?", "x", 0.6, (), receipt), Words("en"))
    said = {fact.label: fact.value for fact in view.receipt}
    assert said["Parity with the trainer"] == "differs by 1.6e-06 at most, of 0.001 allowed, on 112 probes"
    assert said["Generation"] == "engine openvino"
    assert not any("{" in fact.value for fact in view.receipt)
