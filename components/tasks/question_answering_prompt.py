"""Question answering by a prompt: a causal model reads question and text, and writes the words that answer it.

    0.85

or `no answer`. The words are looked for in the text; what is not there keeps its words and has no place. It is trained
on the tables of `question_answering` and measured as that is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from components.tasks import question_answering
from components.tasks.base import Answer, ColumnType, Example, from_json
from components.tasks.question_answering import NO_ANSWER, NULL, Place
from components.tasks.writing import Writing

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from components.recipes import Finetune


def written(target: str) -> str:
    """The first right answer of a row as the model is to write it: on one line."""
    places = from_json(target)
    return " ".join(places[0]["answer"].split()) if places else NO_ANSWER


def answer_of(text: str, output: str) -> str:
    """What the model wrote as an answer of `question_answering`, in JSON: at the first place of its words.

    JSON is left as it is; of a list, as targets are, the first is taken.
    """
    try:
        given = from_json(output)
    except ValueError:
        given = None
    if isinstance(given, dict):
        return output
    if isinstance(given, list):
        return json.dumps(given[0], ensure_ascii=False) if given else NULL
    words = output.split()
    context = len(text) - len(text.partition("\n")[2])
    denies = " ".join(words).casefold() == NO_ANSWER and NO_ANSWER not in text[context:].casefold()
    if not words or denies:
        return NULL
    found = re.compile(r"\s+".join(map(re.escape, words))).search(text, context)
    if found is None:
        return json.dumps({"answer": " ".join(words)}, ensure_ascii=False)
    return json.dumps(Place(answer=found[0], start=found.start(), end=found.end()), ensure_ascii=False)


class QuestionAnsweringPrompt(Writing):
    name = "question_answering_prompt"
    tables = question_answering.TASK.name
    title = "What a text answers to a question, written by a causal model"
    columns = question_answering.TASK.columns
    column_types: Mapping[str, ColumnType] = question_answering.TASK.column_types
    parts = question_answering.TASK.parts
    formats = question_answering.TASK.formats
    metric_name = question_answering.TASK.metric_name
    metrics = question_answering.TASK.metrics
    template = "{text}\nThe answer in the words of the text, or no answer:"
    example = question_answering.TASK.example
    baseline_name = question_answering.TASK.baseline_name
    distinct_texts = False

    def join(self, parts: Mapping[str, str]) -> str:
        return question_answering.TASK.join(parts)

    def fit(self, text: str, target: str) -> str:
        """Places as `question_answering` has them; words, as the model writes them, become the first such place."""
        is_list = target.lstrip().startswith("[")
        return question_answering.TASK.fit(text, target if is_list else answer_of(text, target))

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        return super().rows(frame.assign(answers=frame["answers"].map(written)), tokenizer, recipe, labels)

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """As question answering's, of the words that were written."""
        read = [
            replace(answer, output=answer_of(text, answer.output))
            for answer, text in zip(answers, frame["text"], strict=True)
        ]
        return question_answering.TASK.score(read, frame)

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """As question answering's."""
        return question_answering.TASK.figures(per_example)

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """The same as question answering's."""
        return question_answering.TASK.baseline(train, test, labels)


TASK = QuestionAnsweringPrompt()
