"""What holds for every task: a new file in `components/tasks` is tested the moment it exists."""

import pandas as pd
import pytest

from components.errors import MappingError
from components.tasks import all_tasks, get_task
from components.tasks.base import Answer, Feedback, template_sha256

TASKS = pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.name)


def frame(task):
    texts = ["one text about graphs", "another about waves", "a third of graphs", "and a fourth of waves"]
    targets = ["graphs", "waves", "graphs", "waves"]
    return pd.DataFrame({"id": ["1", "2", "3", "4"], "text": texts, task.columns[1]: targets})


def test_tasks_are_found_by_their_files():
    assert [task.name for task in all_tasks()] == ["classification", "summarisation"]


def test_an_unknown_task_is_named_with_those_there_are():
    with pytest.raises(MappingError, match=r"'translation'.*classification, summarisation"):
        get_task("translation")


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
    answers = [Answer(target, 0.9, ((target, 0.9),)) for target in rows[task.columns[1]]]
    answers[3] = Answer("nothing of the kind", 0.1, (("nothing of the kind", 0.1),))
    scored = task.score(answers, rows)
    assert scored["score"].tolist() == [1, 1, 1, 0]
    assert scored["id"].tolist() == rows["id"].tolist()
    assert {"prediction", "target", "confidence"} <= set(scored)


@TASKS
def test_as_many_answers_as_rows_are_needed(task):
    with pytest.raises(ValueError, match="zip"):
        task.score([], frame(task))


@TASKS
def test_the_baseline_answers_its_own_training_rows(task):
    rows = frame(task)
    scored = task.baseline(rows, rows, ["graphs", "waves"])
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
