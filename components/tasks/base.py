"""What a language task is: one file in this folder that exports one `TASK`."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

Example = Mapping[str, Any]
"""One encoded training row: `input_ids` (list of int) and `labels` (an int, or a list as long as `input_ids`)."""

IGNORED = -100
"""A label that carries no loss: cross-entropy's own convention."""


@dataclass(frozen=True)
class Answer:
    """What a model says to one input."""

    output: str
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
    """A language task. Stateless: everything that a trained model needs lies in its own folder."""

    name: str
    title: str
    """One line for people."""
    columns: tuple[str, str]
    """Input column and target column of its tables: `("text", "label")` or `("text", "target")`."""
    metric_name: str
    """The mean of the per-example scores: what the gate compares."""
    head: Literal["classifier", "generator"]
    template: str
    """How an input becomes the model's text; its hash stands in every receipt."""
    example: str
    """An input that makes sense to a reader."""
    baseline_name: str

    def check(self, recipe: "Finetune") -> None:
        """Raise RecipeError for a recipe that this task cannot be trained by."""
        ...

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        """The training examples of a table's rows, in their order."""
        ...

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """One batch: `input_ids`, `attention_mask` (B, T) int64; `labels` (B,) or (B, T) int64."""
        ...

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Sum of the cross-entropies in nats, and over how many targets: both scalars."""
        ...

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        """One answer per text, in order. Lengths come from the tokenizer's and generation's own configuration."""
        ...

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """Per example: id, prediction, target, score in [0, 1], top3 in [0, 1], confidence."""
        ...

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """The same columns, by a plain method without a neural network."""
        ...

    def training_row(self, text: str, feedback: Feedback) -> str | None:
        """The target to train `text` on; None where the feedback teaches nothing."""
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
