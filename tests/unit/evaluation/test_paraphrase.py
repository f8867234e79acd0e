"""The same in other words: what each rule rewrites, and what it leaves alone."""

import pytest

from components.evaluation.paraphrase import paraphrased, recontracted, renumbered, turned


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("Don't call it if it's closed.", "Do not call it if it is closed."),
        ("They’re open and we will wait.", "They are open and we'll wait."),
        ("I am sure that it cannot fail.", "I'm sure that it can't fail."),
        ("It's been said.", "It's been said."),
        ("We have two of them.", "We have two of them."),
        ("if x is not None", "if x is not None"),
        ("It is.", "It is."),
    ],
)
def test_contractions_are_written_out_and_the_other_way_round(said, again):
    assert recontracted(said) == again


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("Add two nodes and 3 edges.", "Add 2 nodes and three edges."),
        ("12 apples, 13 pears, 1 plum", "twelve apples, 13 pears, 1 plum"),
        ("two of them, no one else", "two of them, no one else"),
        ("1.2 units, v3 of it, 2-3 rows, x = 4 and 07 spies", "1.2 units, v3 of it, 2-3 rows, x = 4 and 07 spies"),
    ],
)
def test_small_numbers_are_spelled_and_the_other_way_round(said, again):
    assert renumbered(said) == again


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("If it is closed, the file is opened.", "The file is opened if it is closed."),
        ("Opens it. When it ends, the handle is let go", "Opens it. The handle is let go when it ends"),
        ("If a, b, or c, stop.", "If a, b, or c, stop."),
        ("If you like: one, two.", "If you like: one, two."),
        ("However, it ends.", "However, it ends."),
    ],
)
def test_two_clauses_change_places(said, again):
    assert turned(said) == again


def test_code_and_masked_data_stay_and_the_rest_is_a_function_of_text_and_seed():
    text = "If it's small, write [EMAIL_1] `do not use 3 big things` about 2 errors."
    once = paraphrased(text, seed=1, share=0.5)
    assert once == paraphrased(text, seed=1, share=0.5)
    assert "[EMAIL_1] `do not use 3 big things`" in once
    assert "if it is small" in once or "if it is little" in once
    assert "two" in once
    assert paraphrased("Nothing here applies.", seed=1, share=0.5) == "Nothing here applies."
