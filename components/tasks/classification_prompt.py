"""Classification by a prompt: a causal model reads the text and an instruction, and writes the label.

It is trained on the tables of `classification` and measured as that is, so that the gate compares the two row by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from components.tasks import classification
from components.tasks.base import Answer, ColumnType
from components.tasks.writing import Writing

if TYPE_CHECKING:
    import pandas as pd


class ClassificationPrompt(Writing):
    name = "classification_prompt"
    tables = classification.TASK.name
    title = "Which label belongs to a text, written by a causal model"
    columns = classification.TASK.columns
    column_types: Mapping[str, ColumnType] = classification.TASK.column_types
    metric_name = classification.TASK.metric_name
    metrics = ("macro_f1", "chance", "calibration_error")
    template = "{text}\nThe label of this text is:"
    example = classification.TASK.example
    baseline_name = classification.TASK.baseline_name

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """1 for the right label as it is spelled, 0 for whatever else was written."""
        alone = [replace(answer, alternatives=((answer.output, answer.confidence),)) for answer in answers]
        return classification.TASK.score(alone, frame).drop(columns="top3")

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """As classification's, but for the three likeliest labels, of which it says one."""
        found = classification.TASK.figures(per_example.assign(top3=per_example["score"]))
        return {name: found[name] for name in self.metrics}

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """The same as classification's."""
        return classification.TASK.baseline(train, test, labels).drop(columns="top3")


TASK = ClassificationPrompt()
