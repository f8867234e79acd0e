import random
from collections import Counter

import pandas as pd
import pytest
from pydantic import ValidationError

from components.data.augmentation import CHANGES, augment, synonyms
from components.data.tables import content_id
from components.recipes import Augmentation

TEXT = "The quick car is big. I need help with a problem! Please check it soon, [EMAIL_1] said."


def _frame(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"id": content_id(text), "text": text, "label": label, "group": f"g{number}", "origin": "file"}
            for number, (text, label) in enumerate(rows)
        ]
    )


def _made(frame: pd.DataFrame, *, label: str = "label", seed: int = 0, never=(), **fields: object) -> pd.DataFrame:
    return augment(frame, Augmentation(**fields), label=label, seed=seed, never=never)


@pytest.mark.parametrize("method", sorted(CHANGES))
def test_each_change_changes_the_text_and_repeats_for_its_seed(method):
    one, same = (CHANGES[method](TEXT, share=0.2, draw=random.Random(5)) for _ in range(2))
    assert one == same != TEXT
    assert "[EMAIL_1]" in one


def test_a_synonym_stands_for_its_word_in_chinese_too_and_capitals_stay():
    assert CHANGES["synonyms"]("Quick", share=0.5, draw=random.Random(0)) == "Fast"
    changed = CHANGES["synonyms"]("这个手机非常好", share=0.9, draw=random.Random(0))
    assert changed in {"这个手机十分不错", "这个手机十分好", "这个手机非常不错"}
    assert all(word in synonyms()[other] for word, others in synonyms().items() for other in others)


def test_sentences_move_and_none_is_lost():
    moved = CHANGES["sentences"]("One. Two! Three?", share=0.1, draw=random.Random(0))
    assert sorted(moved.split()) == sorted(["One.", "Two!", "Three?"])
    assert moved != "One. Two! Three?"


def test_new_rows_say_what_they_are_made_by_and_keep_label_and_group():
    frame = _frame(*((f"{TEXT} Row {number}.", "xy"[number % 2]) for number in range(20)))
    made = _made(frame, copies=2)
    assert len(made) == 40
    assert set(made["origin"]) <= {f"augmented:{name}" for name in Augmentation().methods}
    pairs = set(zip(frame["group"], frame["label"], strict=True))
    assert set(zip(made["group"], made["label"], strict=True)) == pairs
    assert (made["id"] == made["text"].map(content_id)).all()
    assert made["id"].is_unique
    assert set(made["id"]).isdisjoint(frame["id"])


def test_the_order_of_the_rows_changes_nothing_and_the_seed_does():
    frame = _frame(*((f"{TEXT} Row {number}.", "x") for number in range(10)))
    assert _made(frame).equals(_made(frame[::-1]))
    assert not _made(frame)["text"].equals(_made(frame, seed=1)["text"])


def test_a_text_of_another_split_never_comes_out():
    frame = _frame(("one two", "x"))
    other = content_id("two one")
    assert len(_made(frame, methods=("swap",))) == 1
    assert len(_made(frame, methods=("swap",), never={other})) == 0


def test_balance_gives_rare_labels_as_many_rows_within_the_limit_of_growth():
    rows = [(f"{TEXT} Row {number}.", "common") for number in range(12)]
    rows += [(f"{TEXT} Line {number}.", "rare") for number in range(4)] + [(f"{TEXT} Alone.", "single")]
    frame = _frame(*rows)
    counts = Counter(frame["label"]) + Counter(_made(frame, copies=0, balance=True, max_growth=4)["label"])
    assert counts == {"common": 12, "rare": 12, "single": 4}


def test_an_augmentation_without_effect_is_a_mistake():
    with pytest.raises(ValidationError, match="makes no rows"):
        Augmentation(copies=0)
