"""What holds for every task: a new file in `components/tasks` is tested the moment it exists."""

import json
import math

import pandas as pd
import pytest

from components.errors import MappingError
from components.evaluation.metrics import interval, summarise
from components.tasks import all_tasks, get_task
from components.tasks.base import Answer, Feedback, column_type, template_sha256

TASKS = pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.name)


LEARN_THEIR_ROWS = ("classification", "multilabel", "entities", "translation", "code")
"""Tasks whose baseline is fitted closely enough to know rows of any content; a rule, or one that only looks at the
text, knows what it is about and no other."""
TEXTS = ["one text about graphs", "another about waves", "a third of graphs", "and a fourth of waves"]
NAMES = ["graphs", "waves", "graphs", "waves"]


def targets(task):
    """Of TEXTS, as the task's column holds them."""
    kind = column_type(task, task.columns[1])
    if task.head == "regressor":
        return ["1.0", "2.0", "1.0", "2.0"]
    if kind != "json":
        return NAMES
    if task.head == "tagger" or task.tables == "entities":
        spans = [json.dumps([{"text": name, "type": "thing"}]) for name in NAMES]
        return [task.fit(text, span) for text, span in zip(TEXTS, spans, strict=True)]
    return [task.fit(text, name) for text, name in zip(texts(task), NAMES, strict=True)]


def texts(task):
    asks = task.head == "span" or task.tables == "question_answering"
    return [f"what is it about?\n{text}" for text in TEXTS] if asks else TEXTS


def frame(task):
    more = {name: [""] * 4 for name in task.columns[2:]}
    return pd.DataFrame({"id": ["1", "2", "3", "4"], "text": texts(task), task.columns[1]: targets(task), **more})


def said(task, target):
    """The answer that is right where `target` is."""
    return json.dumps(json.loads(target)[0]) if task.head == "span" else target


def test_tasks_are_found_by_their_files():
    names = [task.name for task in all_tasks()]
    assert names == sorted(names)
    assert {"classification", "entities", "question_answering", "summarisation"} <= set(names)


def test_an_unknown_task_is_named_with_those_there_are():
    with pytest.raises(MappingError, match=r"'astrology'.*classification, .*summarisation"):
        get_task("astrology")


@TASKS
def test_a_task_says_what_people_and_receipts_need(task):
    assert get_task(task.name) is task
    assert task.columns[0] == "text"
    assert "{text}" in task.template
    assert len(template_sha256(task)) == 64
    assert all([task.title, task.example, task.baseline_name, task.metric_name])


@TASKS
def test_a_right_answer_scores_one_and_a_wrong_one_zero(task):
    rows = frame(task)
    answers = [Answer(said(task, target), 0.9, ((target, 0.9),)) for target in rows[task.columns[1]]]
    answers[3] = Answer("nothing of the kind", 0.1, (("nothing of the kind", 0.1),))
    scored = task.score(answers, rows)
    assert scored["score"].tolist()[:3] == [1, 1, 1]
    assert 0 <= scored["score"].iloc[3] < 0.1
    assert scored["id"].tolist() == rows["id"].tolist()
    assert {"prediction", "target", "confidence"} <= set(scored)


@TASKS
def test_figures_are_those_that_the_task_names(task):
    if task.name in {"generation", "code"}:
        pytest.skip("its rows are scored by more than text and target: see its own tests")
    rows = frame(task)
    scored = task.baseline(rows, rows, ["graphs", "waves"])
    found = summarise(scored, task)
    assert set(found) - {task.metric_name, "standard_error", "num_examples"} <= set(task.metrics)
    assert not any(math.isnan(value) for value in found.values())
    low, high = interval(scored, task, num_resamples=20)[task.metric_name]
    assert low <= found[task.metric_name] <= high


@TASKS
def test_what_a_target_is_fitted_to_it_fits_again(task):
    for text, target in zip(texts(task), targets(task), strict=True):
        assert task.fit(text, target) == target


@TASKS
def test_as_many_answers_as_rows_are_needed(task):
    with pytest.raises(ValueError, match="zip"):
        task.score([], frame(task))


@TASKS
def test_the_baseline_answers_every_row_and_knows_its_own_training_rows(task):
    rows = frame(task)
    scored = task.baseline(rows, rows, ["graphs", "waves"])
    assert scored["id"].tolist() == rows["id"].tolist()
    assert scored["score"].between(0, 1).all()
    if type(task).baseline in {type(get_task(name)).baseline for name in LEARN_THEIR_ROWS}:
        assert scored["score"].tolist() == [1, 1, 1, 1]
    assert scored["confidence"].between(0, 1.0001).all()


@TASKS
@pytest.mark.parametrize(
    ("feedback", "taught"),
    [
        (Feedback("approve", "waves"), "waves"),
        (Feedback("correct", "waves", " graphs "), "graphs"),
        (Feedback("reject", "waves"), None),
        (Feedback("correct", "waves", "  "), None),
        (Feedback("correct", "waves"), None),
        (Feedback("approve", ""), None),
    ],
)
def test_feedback_teaches_what_it_says_and_nothing_else(task, feedback, taught):
    assert task.training_row("a text", feedback) == taught


@TASKS
def test_feedback_on_nothing_teaches_nothing(task):
    assert task.training_row("  ", Feedback("approve", "waves")) is None
