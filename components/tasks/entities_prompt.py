"""Named entities by a prompt: a causal model reads the text and writes each name with its type, one a line.

    pandas | library
    ValueError | exception

or `none`. Names are looked for in the text from left to right; what is not there, or has no type, is no entity. It is
trained on the tables of `entities` and measured as that is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from components.tasks import entities
from components.tasks.base import Answer, ColumnType, Example, from_json
from components.tasks.writing import Writing

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from components.recipes import Finetune

NONE = "none"


def written(target: str) -> str:
    """The spans of a row as the model is to write them."""
    spans = from_json(target)
    return "\n".join(f"{one['text']} | {one['type']}" for one in spans) or NONE


def spans_of(text: str, output: str) -> str:
    """What the model wrote as spans of the text, in JSON; JSON is left as it is."""
    if output.lstrip().startswith("["):
        return output
    found, at = [], 0
    for line in output.split("\n"):
        name, bar, kind = (part.strip() for part in line.partition("|"))
        if not bar or not name or kind.split() != [kind]:
            continue
        place = re.compile(r"\s+".join(map(re.escape, name.split()))).search(text, at)
        if place:
            found.append({"start": place.start(), "end": place.end(), "text": place[0], "type": kind})
            at = place.end()
    return json.dumps(found, ensure_ascii=False)


class EntitiesPrompt(Writing):
    name = "entities_prompt"
    tables = entities.TASK.name
    title = "Which spans of a text name what, written by a causal model"
    columns = entities.TASK.columns
    column_types: Mapping[str, ColumnType] = entities.TASK.column_types
    formats = entities.TASK.formats
    metric_name = entities.TASK.metric_name
    metrics = entities.TASK.metrics
    template = "{text}\nEach name in this text with its type, one a line, or none:"
    lead = "\n"
    example = entities.TASK.example
    baseline_name = entities.TASK.baseline_name

    def fit(self, text: str, target: str) -> str:
        """Spans as `entities` has them; lines, as the model writes them, become such."""
        return entities.TASK.fit(text, spans_of(text, target))

    def labels(self, targets: Sequence[str]) -> set[str]:
        return entities.TASK.labels(targets)

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        return super().rows(frame.assign(entities=frame["entities"].map(written)), tokenizer, recipe, labels)

    def is_over(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> bool:  # noqa: ARG002
        """Only at the end token or the longest answer: there may be many lines."""
        return False

    def said(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """As entities', of the spans that were written."""
        read = [
            replace(answer, output=spans_of(text, answer.output))
            for answer, text in zip(answers, frame["text"], strict=True)
        ]
        return entities.TASK.score(read, frame)

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """As entities'."""
        return entities.TASK.figures(per_example)

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """The same as entities'."""
        return entities.TASK.baseline(train, test, labels)


TASK = EntitiesPrompt()
