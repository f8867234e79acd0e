import random

from components.data.cleaning import Row, kept
from components.data.dedup import drop_duplicates, drop_near_duplicates


def _row(text: str, answer: str = "x", group: str = "g") -> Row:
    return Row(text, answer, "s", "l", group)


def test_of_equal_texts_one_stays_whatever_the_order():
    for order in (1, -1):
        rows = [_row("The same  text", group="b"), _row("the SAME text", group="a"), _row("another")][::order]
        drop_duplicates(rows)
        assert sorted(row.group for row in kept(rows)) == ["a", "g"]
        assert [row.reason for row in rows if row.reason] == ["duplicate"]


def test_equal_texts_with_different_labels_are_all_dropped():
    rows = [_row("same", "x"), _row("Same", "y"), _row("other", "y")]
    drop_duplicates(rows)
    assert [row.reason for row in rows] == ["conflicting label", "conflicting label", ""]


def test_nearly_equal_texts_are_found_among_many():
    draw = random.Random(0)
    words = [f"word{number}" for number in range(500)]
    rows = [_row(" ".join(draw.choices(words, k=20))) for _ in range(500)]
    twins = [_row(row.text.rsplit(" ", 1)[0] + " changed") for row in rows[:50]]
    every = rows + twins
    drop_duplicates(every)
    drop_near_duplicates(every)
    assert len(kept(every)) == 500
    assert {row.reason for row in every} == {"", "near-duplicate"}


def test_different_texts_that_share_words_stay():
    rows = [_row("return the sum of all rows"), _row("return the product of all columns")]
    drop_duplicates(rows)
    drop_near_duplicates(rows)
    assert len(kept(rows)) == 2


def test_texts_without_words_are_no_duplicates_of_each_other():
    rows = [_row("+++"), _row("---")]
    drop_duplicates(rows)
    drop_near_duplicates(rows)
    assert len(kept(rows)) == 2
