import random
from itertools import combinations, pairwise

import pytest

from components.data.cleaning import Row, kept
from components.data.dedup import (
    RECALL,
    bands,
    components,
    drop_duplicates,
    drop_near_duplicates,
    drop_near_duplicates_of,
    near_pairs,
)
from components.data.shingles import hashed_words, words


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


def _overlap(one: str, other: str) -> float:
    first, second = (set(pairwise(words(text))) for text in (one, other))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
def test_the_similarity_asked_for_is_the_similarity_got(threshold):
    draw = random.Random(1)
    vocabulary = [f"w{number}" for number in range(300)]
    texts = []
    for _ in range(150):
        base = draw.choices(vocabulary, k=60)
        texts.append(" ".join(base))
        for _ in range(draw.randint(1, 12)):
            base[draw.randrange(60)] = draw.choice(vocabulary)
        texts.append(" ".join(base))
    found = {(int(low), int(high)) for low, high in near_pairs(texts, threshold=threshold)}
    true = {
        pair for pair in combinations(range(len(texts)), 2) if _overlap(texts[pair[0]], texts[pair[1]]) >= threshold
    }
    assert found <= true
    assert len(found) >= 0.98 * len(true) > 0


def test_pairs_at_the_threshold_meet_as_often_as_promised():
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.97):
        number, rows = bands(threshold)
        assert number * rows <= 128
        assert 1 - (1 - threshold**rows) ** number >= RECALL


def test_what_hangs_together_through_others_leaves_one_row():
    base = [f"w{number}" for number in range(40)]
    chain = [_row(" ".join([*(f"n{place}" for place in range(2 * step)), *base[2 * step :]])) for step in range(4)]
    drop_duplicates(chain)
    drop_near_duplicates(chain, threshold=0.85)
    assert len(kept(chain)) == 1


def test_rows_of_an_earlier_version_are_kept_before_newcomers():
    rows = [
        _row("one two three four five six seven eight nine ten"),
        _row("one two three four five six seven eight nine"),
    ]
    for old in (0, 1):
        mine = [_row(row.text) for row in rows]
        drop_duplicates(mine)
        drop_near_duplicates(mine, first={mine[old].id})
        assert [bool(row.reason) for row in mine] == [old == 1, old == 0]


def test_rows_like_those_of_another_split_are_dropped_and_others_of_their_kind_stay():
    others = ["the parcel came late and the box was wet inside"]
    rows = [_row("The parcel came late and the box was wet inside!"), _row("all good"), _row("all good")]
    drop_near_duplicates_of(rows, others)
    assert [row.reason for row in rows] == ["near-duplicate", "", ""]


def test_chinese_texts_are_compared_by_characters():
    rows = [
        _row("这个手机的电池很耐用，拍照也非常清楚，我很满意"),
        _row("这个手机的电池很耐用，拍照也非常清楚，我满意"),
    ]
    drop_duplicates(rows)
    drop_near_duplicates(rows)
    assert len(kept(rows)) == 1


def test_words_are_hashed_as_the_plain_pattern_splits_them():
    texts = ["", "Ab cD", "你好，世界 hello世界x", "Straße İx _a", "…", "a" * 70]
    hashed = hashed_words(texts)
    seen: dict[str, int] = {}
    for number, text in enumerate(texts):
        mine = hashed.flat[hashed.starts[number] : hashed.starts[number + 1]].tolist()
        assert len(mine) == len(words(text))
        assert all(seen.setdefault(word, value) == value for word, value in zip(words(text), mine, strict=True))
    assert len(set(seen.values())) == len(seen)


def test_a_crowd_of_equal_texts_is_one_component():
    texts = [f"the same words in every text of the crowd number {number % 3}" for number in range(500)]
    pairs = near_pairs(texts, threshold=0.5)
    assert set(components(500, pairs)) == {0}
    assert len(pairs) < 500 * 20
