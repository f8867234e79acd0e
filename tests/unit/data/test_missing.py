import pytest

from components.data.cleaning import Row, kept
from components.data.missing import filled, handle_missing
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


@pytest.mark.parametrize(
    ("policy", "cells", "full"),
    [
        ("mean", ["1", "", "4", "2.5"], ["1", "2.5", "4", "2.5"]),
        ("mean", ["1", "", "4"], ["1", "2", "4"]),
        ("median", ["9", "1", "", "2"], ["9", "1", "2", "2"]),
        ("median", ["1.5", "2.5", "", ""], ["1.5", "2.5", "2", "2"]),
        ("interpolate", ["", "1", "", "", "4", ""], ["1", "1", "2", "3", "4", "4"]),
        ("constant", ["x", ""], ["x", "unknown"]),
        ("constant=none given", ["x", ""], ["x", "none given"]),
        ("most_frequent", ["b", "a", "b", ""], ["b", "a", "b", "b"]),
    ],
)
def test_each_policy_fills_what_is_empty_and_nothing_else(policy, cells, full):
    assert filled(cells, policy) == full


def test_a_number_computed_for_a_label_becomes_the_nearest_label():
    rows = _rows(("a", "1"), ("b", "1"), ("c", "5"), ("d", ""))
    handle_missing(rows, {"answer": "mean"}, closed={"answer"})
    assert (rows[3].answer, rows[3].imputed) == ("1", "answer")


def test_regression_learns_names_and_numbers_from_the_texts():
    texts = [f"good fine lovely {n}" for n in range(20)] + [f"bad broken awful {n}" for n in range(20)]
    assert filled(["yes"] * 20 + ["no"] * 20 + [""], "regression", texts=[*texts, "lovely good"])[-1] == "yes"
    stars = filled(["4.5"] * 20 + ["1.5"] * 20 + ["", ""], "regression", texts=[*texts, "fine good", "awful bad"])
    assert float(stars[-2]) > 3 > float(stars[-1])
    assert filled(["5"] * 20 + ["1"] * 20 + [""], "regression", texts=[*texts, "awful bad"], closed=True)[-1] == "1"


@pytest.mark.parametrize(
    ("policy", "cells", "says"),
    [
        ("mean", ["cheap", ""], "'cheap' is no number"),
        ("median", ["", ""], "no value at all"),
        ("regression", ["1", "2", ""], "2 rows and 2 different values"),
        ("guess", ["1", ""], "no policy 'guess'"),
    ],
)
def test_a_policy_that_the_cells_do_not_allow_says_why(policy, cells, says):
    with pytest.raises(RecipeError, match=says):
        filled(cells, policy, texts=["t"] * len(cells))


def test_a_further_column_of_a_task_is_filled_and_named():
    rows = [Row("t", "a", "s", "l", "g", more={"price": price}) for price in ("2", "", "4")]
    handle_missing(rows, {"price": "interpolate"})
    assert (rows[1].more["price"], rows[1].imputed) == ("3", "price")
