"""What a language task is: one file in this folder that exports one `TASK`."""

import ast
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from components.errors import RecipeError

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

Example = Mapping[str, Any]
"""One encoded training row: `input_ids` (list of int) and `labels` (an int, or a list as long as `input_ids`)."""

IGNORED = -100
"""A label that carries no loss: cross-entropy's own convention."""

Head = Literal["classifier", "generator", "tagger", "span", "regressor"]
"""What is put on the base: a label a text, the next token, a label a token, the first and last token of an answer, a
number a text."""

ColumnType = Literal["label", "line", "lines", "json"]
"""How a column's cells are made plain, and what they are.

`label`: a name out of the table's own few; it is never masked. `line`: text, every run of spaces one. `lines`: text
that keeps its lines, as code does. `json`: a JSON value that says things of the row's text (see `Task.fit`).
"""

RawRow = Mapping[str, Any] | str
"""A row of an own file as column → cell; or what is wrong with it."""


@dataclass(frozen=True)
class FileFormat:
    """A way in which the field writes this task's data, read as it comes."""

    name: str
    """As `--format` and a recipe's `format` name it."""
    suffixes: tuple[str, ...]
    """Files that end so are read by it unless another format is named."""
    read: Callable[[str], Iterator[RawRow]]
    """The file's text → rows in the task's columns; `group` may say which rows must stay in one split."""


@dataclass(frozen=True)
class Answer:
    """What a model says to one input."""

    output: str
    """A label, a text, or the JSON of spans; the task's docstring says which. It can be learned as a target."""
    confidence: float
    """In [0, 1]: the label's probability, or the geometric mean probability of the generated tokens."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """Labels with their probabilities, likeliest first, `output` among them; none for free text."""


@dataclass(frozen=True)
class Feedback:
    """What somebody said of one answer."""

    kind: Literal["approve", "reject", "correct"]
    output: str
    """The answer that was given."""
    correction: str | None = None


class Task(Protocol):
    """A language task. Stateless: everything that a trained model needs lies in its own folder.

    A task inherits from this class; what has a value or a body here is what most tasks want.
    """

    name: str
    title: str
    """One line for people."""
    columns: tuple[str, ...]
    """Input column and target column of its tables, `("text", "label")`; then whatever else measuring a row takes."""
    column_types: Mapping[str, ColumnType] = MappingProxyType({})
    """Of the columns that are not as usual: the input is of `lines`, every other a `line`."""
    parts: tuple[str, ...] = ()
    """Columns that an own file may have in place of `text`; `join` makes the text of them."""
    formats: tuple[FileFormat, ...] = ()
    """Ways of writing own files besides tables (CSV, TSV, JSONL, Parquet), which every task reads."""
    metric_name: str
    """The mean of the per-example scores: what the gate compares."""
    metrics: tuple[str, ...] = ()
    """What `figures` gives beside it."""
    head: Head
    template: str
    """How an input becomes the model's text; its hash stands in every receipt."""
    example: str
    """An input that makes sense to a reader."""
    baseline_name: str
    tables: str = ""
    """The task whose tables it is trained on and measured by, which has the same columns; empty: its own."""
    distinct_texts: bool = True
    """Whether two texts that are nearly the same count as one row; not where several questions share a document."""

    def check(self, recipe: "Finetune") -> None:
        """Raise RecipeError for a recipe that this task cannot be trained by; by default one that has it generate."""
        if recipe.max_new_tokens is not None:
            raise RecipeError(f"{recipe.name}: max_new_tokens: {self.name} generates nothing", "leave it out")

    def join(self, parts: Mapping[str, str]) -> str:
        """The text that an own file's `parts` make."""
        return "\n".join(parts[name] for name in self.parts)

    def fit(self, text: str, target: str) -> str:
        """The target as its column holds it: `target` is an own file's cell, an answer that was approved, a correction.

        Text and target are already plain and masked; what points into the text must point into this one.

        Raises:
            ValueError: it does not belong to the text; the message is the reason that the row's author reads.
        """
        del text
        return target

    def labels(self, targets: Sequence[str]) -> set[str]:
        """The table's labels: what `rows` must be told to number them. None where targets are free text."""
        return set(targets) if column_type(self, self.columns[1]) == "label" else set()

    def gold(self, code: "ast.Module") -> Iterator[tuple[str, str]]:
        """(text, target) pairs that a Python module holds by construction, for the source `docstrings` of a recipe."""
        del code
        raise NotImplementedError

    def outputs(self, labels: Sequence[str]) -> Sequence[str]:
        """What the head of a classifier or a tagger tells apart, in order."""
        return labels

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        """The training examples of a table's rows, in their order; a row may give more than one, or none."""
        ...

    def prepare(self, model: "PreTrainedModel", train: "pd.DataFrame") -> None:
        """What the model's configuration must carry of the rows to train on; by default nothing."""
        del model, train

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """One batch: `input_ids`, `attention_mask` (B, T) int64; `labels` (B,) or (B, T) int64."""
        ...

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Sum of the cross-entropies in nats, of a regressor of squared errors; over how many targets: both scalars."""
        ...

    def settle(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", held_out: "pd.DataFrame") -> None:
        """What of a trained model's configuration is chosen on the rows that its training held out; by default nothing.

        Called once, before the model is saved, where rows were held out.
        """
        del model, tokenizer, held_out

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        """One answer per text, in order. Lengths come from the tokenizer's and generation's own configuration."""
        ...

    def places(self, text: str, tokenizer: "PreTrainedTokenizerBase") -> list[tuple[int, int] | None] | None:
        """Per token of a writer's prompt: the characters of `text` that it stands for, the end exclusive; None for one
        that is not of the text. None in all: the prompt holds the text in one piece, as a template does."""
        del text, tokenizer
        return None

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """Per example: id, prediction, target, score in [0, 1], confidence; what `figures` needs besides."""
        ...

    def drawn(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", frame: "pd.DataFrame", *, k: int
    ) -> dict[str, list[float]]:
        """What is measured over several drawn answers a row: figure → per row. By default a task has no such figure."""
        del model, tokenizer, frame, k
        return {}

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """`metrics` → value, from what `score` gave: quick enough to be computed a thousand times over."""
        del per_example
        return {}

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """The same columns as `score`, by a plain method without a neural network."""
        ...

    def training_row(self, text: str, feedback: Feedback) -> str | None:
        """The target to train `text` on; None where the feedback teaches nothing. `fit` then has the last word."""
        return target_of_feedback(feedback) if text.strip() else None


def from_json(text: str) -> Any:
    """What JSON text says. Raises ValueError for what is none, and for what is nested too deep to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def column_type(task: Task, column: str) -> ColumnType:
    """How a column of the task's is made plain."""
    return task.column_types.get(column, "lines" if column == task.columns[0] else "line")


@runtime_checkable
class Writer(Protocol):
    """What a task has besides when a causal model writes its answers, so that they can be told token by token.

    `Task.answer` and whoever writes by these three say the same.
    """

    def prompts(self, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
        """Per text: the token ids that the model continues, at most `tokenizer.model_max_length`."""
        ...

    def is_over(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> bool:
        """Whether the answer ends with the last of the tokens that were written so far."""
        ...

    def said(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
        """The text of the tokens that were written; more tokens only add to its end, blanks aside."""
        ...


def template_sha256(task: Task) -> str:
    """What receipts call the prompt template's hash."""
    return hashlib.sha256(task.template.encode()).hexdigest()


def target_of_feedback(feedback: Feedback) -> str | None:
    """Approval teaches the answer, a correction itself; a bare rejection says only what is wrong."""
    if feedback.kind == "approve":
        return feedback.output or None
    if feedback.kind == "correct":
        return (feedback.correction or "").strip() or None
    return None
