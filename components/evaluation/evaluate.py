"""Measure a model, and the plain baseline, on rows that it was not trained on."""

from pathlib import Path
from typing import TYPE_CHECKING

from components.data import tables
from components.errors import DataError
from components.models import pretrained
from components.recipes import Finetune, Preference
from components.tasks import get_task
from components.training.device import exact
from components.training.finetuning import training_rows

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    model_dir: Path, *, task: str, data_dir: Path, table: str, split: str = "test", max_rows: int | None = None
) -> "pd.DataFrame":
    """Per example: what the model answers and what that scores (columns as in `Task.score`). Deterministic.

    Raises:
        DataError: the split is empty.
        InputFileError: no model to read.
    """
    language_task = get_task(task)
    rows = test_rows(data_dir=data_dir, table=table, split=split, max_rows=max_rows)
    model, tokenizer = pretrained.load_trained(model_dir, task=language_task)
    with exact():
        answers = language_task.answer(model, tokenizer, list(rows["text"]))
    return language_task.score(answers, rows)


def evaluate_baseline(recipe: Finetune, *, data_dir: Path, split: str = "test") -> "pd.DataFrame":
    """The same for the task's baseline, fitted on the rows that the recipe trains on.

    Raises:
        DataError: the split is empty, or there are no training rows.
    """
    language_task = get_task(recipe.task)
    rows = test_rows(data_dir=data_dir, table=recipe.table, split=split, max_rows=recipe.max_test_rows)
    labels = tables.table_info(data_dir, recipe.table).labels
    return language_task.baseline(training_rows(recipe, data_dir=data_dir), rows, labels)


def evaluate_reference(recipe: Preference, *, weights_dir: Path, data_dir: Path, split: str = "test") -> "pd.DataFrame":
    """The same for the model that a training by preference starts from, asked as the recipe would have it asked.

    Raises:
        DataError: the split is empty.
        InputFileError: no model to read.
    """
    task = get_task(recipe.task)
    rows = test_rows(data_dir=data_dir, table=recipe.table, split=split, max_rows=recipe.max_test_rows)
    model, tokenizer = pretrained.load_base(weights_dir, task=task, labels=(), recipe=recipe)
    with exact():
        answers = task.answer(pretrained.merged(model).eval(), tokenizer, list(rows["text"]))
    return task.score(answers, rows)


def test_rows(*, data_dir: Path, table: str, split: str, max_rows: int | None) -> "pd.DataFrame":
    """The first `max_rows` by id, a hash of the text: the same ones for every model, and no kind of text first.

    Raises:
        DataError: there are none.
    """
    rows = tables.read_split(data_dir, table, split)
    rows = rows if max_rows is None else rows.head(max_rows)
    if not len(rows):
        raise DataError(f"split {split} of table {table!r} is empty", "ingest rows for it: nothing can be measured")
    return rows
