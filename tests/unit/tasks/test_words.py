"""What measures count in a text: on English as the references, on other scripts at all."""

import pandas as pd
import pytest
from rouge_score.rouge_scorer import RougeScorer

from components.tasks import get_task
from components.tasks.base import Answer
from components.tasks.question_answering import f1, is_same
from components.tasks.words import RougeTokenizer, num_words, segmented

ENGLISH = [
    ("Returns the sorted nodes of a graph.", "Return sorted node, of the Graph_2!"),
    ("def f(x): return x ** 0.5  # doesn't sort", "the square-root\tof x isn't\nsorted"),
    ("", "nothing"), ("a an the", "the"), ("x_y z-1", "xy z1"),
]  # fmt: skip


def rouge(target, said):
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=RougeTokenizer())
    return {name: found.fmeasure for name, found in scorer.score(target, said).items()}


@pytest.mark.parametrize(("target", "said"), ENGLISH)
def test_rouge_on_english_is_the_reference_s_to_the_last_digit(target, said):
    reference = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(target, said)
    assert rouge(target, said) == {name: found.fmeasure for name, found in reference.items()}


@pytest.mark.parametrize(
    "text",
    [
        "图的最短路径",
        "最短経路を求める",
        "หาเส้นทางที่สั้นที่สุด",
        "Кратчайший путь",
        "أقصر طريق في الرسم",
        "सबसे छोटा पथ",
        "최단 경로",
    ],
)
def test_equal_texts_score_one_in_any_script_and_unlike_ones_zero(text):
    assert rouge(text, text) == {"rouge1": 1, "rouge2": 1, "rougeL": 1}
    assert set(rouge(text, "of nodes").values()) == {0}


def test_chinese_is_counted_by_character_and_russian_by_word():
    assert segmented("求DAG的最短路径。") == ["求", "DAG", "的", "最", "短", "路", "径"]
    assert segmented("Кратчайший путь — это!") == ["Кратчайший", "путь", "это"]
    assert segmented("सबसे छोटा") == ["सबसे", "छोटा"]
    # of 4 characters each, 3 are shared and in order
    assert rouge("最短路径", "最短路线")["rougeL"] == pytest.approx(0.75)
    assert rouge("Sorted nodes of 图", "sort node 图")["rouge1"] == pytest.approx(2 * 3 / 7)  # ASCII is still stemmed
    assert (num_words("最短路径"), num_words("don't stop")) == (4, 2)


def test_a_chinese_summary_has_a_score_and_a_length():
    frame = pd.DataFrame({"id": ["1"], "text": ["x"], "target": ["图的最短路径"]})
    [row] = get_task("summarisation").score([Answer("最短路径", 1.0)], frame).to_dict("records")
    assert row["score"] == pytest.approx(2 * 4 / 10)
    assert row["length_ratio"] == pytest.approx(4 / 6)


def test_f1_of_chinese_answers_counts_characters():
    assert f1("成立于1951年。", "1951年") == pytest.approx(2 * 2 / 7)
    assert is_same("《三体》", "三体")
    assert f1("北京", "上海") == 0
    assert f1("", "北京") == 0
    assert is_same("价格是 0.85 元", "价格是0.85元")


@pytest.mark.parametrize(
    ("said", "right", "expected"),
    [
        ("the Eiffel Tower", "Eiffel tower.", 1.0),
        ("0.85", "85", 0.0),
        ("a café in Paris", "café", 2 / 4),
        ("in 1951", "1951", 2 / 3),
        ("the", "", 1.0),
    ],
)
def test_f1_of_english_answers_is_squad_s(said, right, expected):
    assert f1(said, right) == pytest.approx(expected)
