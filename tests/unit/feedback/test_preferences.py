"""Feedback as DPO pairs and KTO rows."""

from components.feedback import reasons as why
from components.feedback.preferences import dpo_pairs, kto_rows, usable
from components.feedback.screening import Refused
from tests.unit.feedback.test_screening import row


def thumb(number: int, text: str, output: str, kind: str, subject: str = "ada"):
    return row(number, text, "", subject, kind=kind, correction=None, output=output)


def pairs(rows) -> list[tuple[str, str, str]]:
    return list(dpo_pairs(rows)[["prompt", "chosen", "rejected"]].itertuples(index=False, name=None))


def test_a_correction_is_preferred_to_the_answer_it_corrects():
    assert pairs([row(1, "sum it up", " short ", output="long")]) == [("sum it up", "short", "long")]
    assert pairs([row(1, "sum it up", "Long", output="long")]) == []


def test_a_functions_body_that_is_corrected_keeps_its_indentation():
    rows = [row(1, "def f(x):", "\n    y = x\n    return y\n", output="    return 1")]
    assert pairs(rows) == [("def f(x):", "    y = x\n    return y", "    return 1")]
    assert "    y = x\n    return y" in set(kto_rows(rows)["completion"])


def test_of_two_answers_to_one_text_the_approved_is_preferred_if_one_person_judged_both():
    rows = [thumb(1, "sum it up", "good", "approve"), thumb(2, "Sum it  up", "bad", "reject")]
    assert pairs(rows) == [("sum it up", "good", "bad")]
    assert pairs([rows[0], thumb(2, "sum it up", "bad", "reject", "bob")]) == []


def test_people_who_prefer_opposite_ways_give_no_pair():
    rows = [row(1, "t", "a", "ada", output="b"), row(2, "t", "b", "bob", output="a"), row(3, "u", "a", output="b")]
    assert pairs(rows) == [("u", "a", "b")]


def test_thumbs_and_corrections_become_wanted_and_unwanted_completions():
    rows = [thumb(1, "t", "fine", "approve"), thumb(2, "u", "poor", "reject"), row(3, "v", "right", output="wrong")]
    found = kto_rows(rows).drop(columns="id")
    assert sorted(found.itertuples(index=False, name=None)) == [
        ("t", "fine", True),
        ("u", "poor", False),
        ("v", "right", True),
        ("v", "wrong", False),
    ]


def test_a_completion_that_is_both_wanted_and_unwanted_is_left_out():
    rows = [thumb(1, "t", "x", "approve"), thumb(2, "t", "X", "reject", "bob")]
    assert kto_rows(rows).empty
    assert list(kto_rows([]).columns) == ["id", "prompt", "completion", "label"]


def test_rows_come_in_the_same_order_whatever_the_order_of_the_feedback():
    rows = [row(i, f"t{i % 4}", f"a{i}", f"s{i}", output="b") for i in range(1, 9)]
    assert dpo_pairs(rows).equals(dpo_pairs(rows[::-1]))


def test_what_screening_refused_for_what_it_is_teaches_no_preference_either():
    rows = [thumb(1, "t", "x", "reject"), row(2, "u", "a", output="b"), row(3, "v", "a", output="b")]
    refused = [Refused(rows[0], why.NO_CORRECTION), Refused(rows[1], why.INJECTION)]
    assert [one.feedback_id for one in usable(rows, refused)] == ["f1", "f3"]
