import pandas as pd
import pytest

from components.errors import MappingError
from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks.base import Answer
from components.tasks.classification import TASK

RECIPE = Finetune(
    name="t", task="classification", table="t", base="b", num_steps=1, learning_rate=1, max_length_tokens=3
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(["graphs and waves"] * 3, 300)


def test_a_label_that_is_not_the_tables_is_named(tokenizer):
    frame = pd.DataFrame({"text": ["x", "y"], "label": ["waves", "wavs"]})
    with pytest.raises(MappingError, match=r"\['wavs'\].*graphs, waves"):
        TASK.rows(frame, tokenizer, RECIPE, ["graphs", "waves"])


def test_labels_become_their_numbers_and_long_texts_are_cut(tokenizer):
    frame = pd.DataFrame({"text": ["graphs " * 20, "x"], "label": ["waves", "graphs"]})
    rows = TASK.rows(frame, tokenizer, RECIPE, ["graphs", "waves"])
    assert [row["labels"] for row in rows] == [1, 0]
    assert [len(row["input_ids"]) for row in rows] == [3, 1]


def test_a_batch_is_padded_on_the_right_and_masked_there():
    batch = TASK.collate([{"input_ids": [5, 6, 7], "labels": 1}, {"input_ids": [8], "labels": 0}], pad_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_top3_counts_a_label_among_the_three_likeliest():
    ranked = tuple((name, p) for name, p in zip("abcd", (0.4, 0.3, 0.2, 0.1), strict=True))
    frame = pd.DataFrame({"id": ["1", "2"], "label": ["c", "d"]})
    scored = TASK.score([Answer("a", 0.4, ranked)] * 2, frame)
    assert scored["top3"].tolist() == [1, 0]
    assert scored["score"].tolist() == [0, 0]


def test_a_baseline_with_one_label_to_learn_from_says_that_label():
    train = pd.DataFrame({"text": ["x"], "label": ["a"]})
    test = pd.DataFrame({"id": ["1", "2"], "text": ["y", "z"], "label": ["a", "b"]})
    assert TASK.baseline(train, test, ["a", "b"])["prediction"].tolist() == ["a", "a"]
