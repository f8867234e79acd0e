from components.data.cleaning import Row, kept
from components.data.decontamination import Contamination, drop_contaminated

QUESTION = "a farmer has seventeen sheep and all but nine run away how many sheep are left on the farm"


def _row(text: str, answer: str = "") -> Row:
    return Row(text, answer, "s", "l", "g")


def test_a_row_that_holds_thirteen_words_in_a_row_of_a_benchmark_is_dropped():
    words = QUESTION.split()
    rows = [
        _row(f"He said: {' '.join(words[2:15]).upper()}, and laughed"),
        _row(f"He said: {' '.join(words[2:14])}, and laughed"),
        _row("quite another text of many words that shares nothing with the one about animals"),
        _row("the answer holds it", answer=QUESTION),
    ]
    drop_contaminated(rows, [QUESTION])
    assert [row.reason for row in rows] == ["piece of a benchmark", "", "", "piece of a benchmark"]


def test_a_short_benchmark_text_is_searched_for_whole_and_everyday_words_are_not():
    found = Contamination(["what is the capital of Peru?", "how are you"]).found_in(
        ["Quiz: What is the capital of Peru", "what is the capital of France", "how are you today"]
    )
    assert found.tolist() == [True, False, False]


def test_chinese_is_compared_by_characters():
    text = "小明有三个苹果，妈妈又给了他两个，现在他有几个"
    assert Contamination([text]).found_in([f"题目：{text}？", "小明有三个苹果"]).tolist() == [True, False]


def test_nothing_is_found_in_nothing():
    assert Contamination([]).found_in(["a"]).tolist() == [False]
    rows = [_row("a text")]
    drop_contaminated(rows, [])
    assert len(kept(rows)) == 1
