import pandas as pd
import pytest

from components.tasks.base import Answer
from components.tasks.translation import TASK, dictionary, placeholders


def frame(*pairs):
    return pd.DataFrame([{"id": str(n), "text": a, "target": b} for n, (a, b) in enumerate(pairs)])


def score(said, target, text="x"):
    return TASK.score([Answer(said, 1.0)], frame((text, target))).iloc[0]


def test_scores_are_sacrebleus():
    import sacrebleu

    said, target = "das Haus ist klein", "das Haus ist sehr klein"
    assert score(said, target)["score"] == pytest.approx(sacrebleu.sentence_chrf(said, [target]).score / 100)
    rows = TASK.score([Answer(said, 1.0), Answer("ein Buch", 1.0)], frame(("a", target), ("b", "ein Buch")))
    figures = TASK.figures(rows)
    expected = sacrebleu.corpus_bleu([said, "ein Buch"], [[target, "ein Buch"]])
    assert figures["bleu"] == pytest.approx(expected.score)
    assert figures["exact"] == 0.5


def test_chinese_is_measured_by_character():
    rows = TASK.score([Answer("保存并继续编辑", 1.0)], frame((">>zh_Hans<< Save", "保存并继续编辑")))
    assert TASK.figures(rows)["bleu"] == pytest.approx(100)  # as one word it would have no 4-gram, and score 0


@pytest.mark.parametrize(
    ("said", "target", "kept"),
    [
        ("%(name)s löschen", "%(name)s löschen", 1.0),
        ("%(nom)s löschen", "%(name)s löschen", 0.0),
        ("löschen", "%(name)s löschen", 0.0),
        ("{a} {a}", "{a} und {a}", 1.0),
        ("{a}", "{a} und {a}", 0.0),
        ("löschen", "löschen", None),
    ],
)
def test_placeholders_that_are_lost_are_seen(said, target, kept):
    found = score(said, target)["placeholders_kept"]
    assert (None if pd.isna(found) else found) == kept


def test_numbers_that_are_lost_are_seen():
    assert score("vor 3 Tagen", "vor 3 Tagen")["numbers_kept"] == 1
    assert score("vor 4 Tagen", "vor 3 Tagen")["numbers_kept"] == 0
    assert placeholders("%d of 10") == ("%d",)


def test_a_dictionary_is_learned_from_what_goes_together():
    pairs = [("the house", "das Haus"), ("the book", "das Buch"), ("a book", "ein Buch"), ("a house", "ein Haus")]
    found = dictionary([a for a, _ in pairs], [b for _, b in pairs])
    assert {word: other for word, (other, _) in found.items()} == {
        "the": "das", "house": "Haus", "book": "Buch", "a": "ein",
    }  # fmt: skip
    assert all(probability > 0.5 for _, probability in found.values())


def test_the_baseline_puts_new_texts_together_and_leaves_placeholders():
    train = frame(
        ("the house", "das Haus"), ("the book", "das Buch"), ("a book", "ein Buch"), ("a house", "ein Haus"),
        (">>fr<< the house", "la maison"),
    )  # fmt: skip
    test = frame(("The book %(n)s, house 7", "x"), (">>fr<< the house", "la maison"))
    assert TASK.baseline(train, test, [])["prediction"].tolist() == ["das Buch %(n)s, Haus 7", "la maison"]


def test_any_text_can_be_scored_and_translated():
    odd = frame(("", ""), ("\u202eשלום", "x"), ("a" * 5000, "b"), ("\x00%(", "%"))
    rows = TASK.baseline(odd, odd, [])
    assert rows["score"].between(0, 1).all()
    assert TASK.figures(rows)["bleu"] >= 0
