import pytest

from components.data.cleaning import Row, kept
from components.data.missing import handle_missing
from components.errors import RecipeError


def _rows(*cells: tuple[str, str]) -> list[Row]:
    return [Row(text, answer, "s", "l", "g") for text, answer in cells]


def test_rows_without_text_or_answer_are_dropped_by_default_and_say_why():
    rows = _rows(("a", "x"), ("", "x"), ("b", ""))
    handle_missing(rows, {})
    assert [row.reason for row in rows] == ["", "no text", "no label or target"]


def test_the_most_frequent_answer_fills_and_the_row_says_so():
    rows = _rows(("a", "x"), ("b", "x"), ("c", "y"), ("d", ""))
    handle_missing(rows, {"answer": "most_frequent"})
    assert (rows[3].answer, rows[3].imputed) == ("x", "answer")
    assert [row.imputed for row in rows[:3]] == ["", "", ""]
    assert len(kept(rows)) == 4


def test_a_tie_is_broken_by_name_so_that_row_order_does_not_matter():
    for order in (("y", "x", ""), ("x", "y", "")):
        rows = _rows(*(("t", answer) for answer in order))
        handle_missing(rows, {"answer": "most_frequent"})
        assert rows[2].answer == "x"


def test_a_constant_fills_and_drop_drops_in_any_column():
    rows = [Row("a", "x", "", "l", ""), Row("b", "x", "s", "l", "g")]
    handle_missing(rows, {"source": "constant", "group": "drop"})
    assert rows[0].source == "unknown"
    assert rows[0].reason == "no group"
    assert rows[1].reason == ""


def test_a_policy_for_an_unknown_column_is_a_mistake_in_the_recipe():
    with pytest.raises(RecipeError, match="cannot be filled"):
        handle_missing([], {"colour": "drop"})
