"""Labels and entities that a causal model writes: how they are asked for, read and measured."""

import json

import pandas as pd
import pytest

from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks import classification_prompt, entities, entities_prompt, question_answering_prompt
from components.tasks.base import IGNORED, Answer
from components.tasks.entities_prompt import spans_of, written

TEXT = "Raises ValueError if the Graph is no Graph of networkx."
SPANS = json.dumps(
    [
        {"start": 7, "end": 17, "text": "ValueError", "type": "exception"},
        {"start": 25, "end": 30, "text": "Graph", "type": "class"},
    ]
)


@pytest.fixture(scope="module")
def tokenizer():
    made = train_bpe([TEXT, "The label of this text is: networkx"] * 3, 400)
    made.model_max_length = 64
    return made


def recipe(task: str) -> Finetune:
    return Finetune(name="r", task=task, table="t", base="none", num_steps=1, learning_rate=1e-3, max_new_tokens=48)


def test_spans_are_written_a_line_each_and_read_back_from_left_to_right():
    assert written(SPANS) == "ValueError | exception\nGraph | class"
    assert spans_of(TEXT, written(SPANS)) == SPANS
    assert written("[]") == "none"
    assert spans_of(TEXT, "none") == "[]"
    both = json.loads(spans_of(TEXT, "Graph | class\nGraph | class"))
    assert [one["start"] for one in both] == [25, 37]


@pytest.mark.parametrize(
    "output", ["Nobody | class", "Graph", "Graph |", "| class", "Graph | two words", "", "{", "|||"]
)
def test_what_is_not_in_the_text_or_has_no_type_is_no_entity(output):
    assert spans_of(TEXT, output) == "[]"


def test_what_the_model_wrote_can_be_approved_and_scores_as_entities_do():
    task = entities_prompt.TASK
    assert task.fit(TEXT, "ValueError | exception\nGraph | class") == entities.TASK.fit(TEXT, SPANS)
    rows = pd.DataFrame({"id": ["1", "2"], "text": [TEXT, TEXT], "entities": [SPANS, SPANS]})
    said = [Answer("ValueError | exception\nGraph | class", 0.5), Answer("ValueError | class", 0.5)]
    scored = task.score(said, rows)
    assert scored["score"].tolist() == [1.0, 0.0]
    assert task.figures(scored)["entity_recall"] == 0.5


@pytest.mark.parametrize(
    ("module", "column", "target", "said"),
    [
        (classification_prompt, "label", "networkx", " networkx"),
        (entities_prompt, "entities", SPANS, "\nValueError | exception\nGraph | class"),
        (question_answering_prompt, "answers", '[{"answer": "no\\nGraph", "start": 28, "end": 36}]', " no Graph"),
        (question_answering_prompt, "answers", "[]", " no answer"),
    ],
)
def test_only_the_answer_carries_loss(module, column, target, said, tokenizer):
    task = module.TASK
    rows = pd.DataFrame({"id": ["1"], "text": [TEXT], column: [target]})
    [row] = task.rows(rows, tokenizer, recipe(task.name), ["networkx"])
    told = [token for token in row["labels"] if token != IGNORED]
    assert tokenizer.decode(told[:-1]) == said
    assert told[-1] == tokenizer.eos_token_id
    whole = tokenizer.decode(row["input_ids"][:-1])
    assert whole == task.template.replace("{text}", TEXT) + said


def test_a_label_that_is_spelled_otherwise_is_wrong():
    rows = pd.DataFrame({"id": ["1", "2"], "text": ["a", "b"], "label": ["networkx", "sympy"]})
    scored = classification_prompt.TASK.score([Answer("networkx", 0.9), Answer("Sympy.", 0.9)], rows)
    assert scored["score"].tolist() == [1.0, 0.0]
    assert set(classification_prompt.TASK.figures(scored)) == set(classification_prompt.TASK.metrics)


QUESTION = "What is alpha?\nalpha : float, default 0.85. Others have\n0.85, too."


@pytest.mark.parametrize(
    ("output", "said", "fitted"),
    [
        ("0.85", {"answer": "0.85", "start": 38, "end": 42}, True),
        ("have 0.85", {"answer": "have\n0.85", "start": 51, "end": 60}, True),
        ("No answer", {"answer": None}, True),
        ("", {"answer": None}, True),
        ("some 0.9", {"answer": "some 0.9"}, False),
        ('{"answer": null}', {"answer": None}, True),
        ("[]", {"answer": None}, True),
    ],
)
def test_words_that_were_written_are_found_in_the_text_or_stand_for_themselves(output, said, fitted):
    task = question_answering_prompt.TASK
    assert json.loads(question_answering_prompt.answer_of(QUESTION, output)) == said
    if fitted:
        places = json.loads(task.fit(QUESTION, output))
        assert places == ([said] if said["answer"] else [])
    else:
        with pytest.raises(ValueError, match="is not in the text"):
            task.fit(QUESTION, output)


def test_written_answers_are_measured_as_those_that_are_pointed_at():
    task = question_answering_prompt.TASK
    rows = pd.DataFrame(
        {"id": ["1", "2", "3"], "text": [QUESTION] * 3, "answers": [task.fit(QUESTION, "0.85")] * 2 + ["[]"]}
    )
    scored = task.score([Answer("0.85", 0.9), Answer("no answer", 0.9), Answer("no answer", 0.9)], rows)
    assert scored["score"].tolist() == [1.0, 0.0, 1.0]
    assert task.figures(scored)["answerability"] == pytest.approx(2 / 3)
