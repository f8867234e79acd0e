"""What a training by preference made of the very answers that it learnt from: the fate `measured` of their feedback."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.feedback.preferences import correction_of
from components.ledger.kinds import thumb
from components.ledger.schema import Feedback

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Preference

BY_PREFERENCE = "preference"
"""Stands in such an effect as `by`: its scores are probabilities, not shares of right answers."""


def effects(
    rows: Sequence[Feedback], *, recipe: "Preference", weights_dir: Path, model_dir: Path
) -> list[dict[str, Any]]:
    """Per row: how much the model liked what the person likes, before and after, and what it answers now.

    An answer's weight is the geometric mean of its tokens' probabilities, so that length does not count. Of two answers
    (a correction and what it corrects, a preference) the score is the wanted one's share of both weights; 0.5 is
    indifference. Of a thumb up, or a good rating, it is the answer's weight, of a thumb down what is left of 1.

    Args:
        weights_dir: what the training started from.
        model_dir: what came of it.

    Raises:
        InputFileError: no model to read.
    """
    from components.models import pretrained
    from components.tasks import get_task

    task = get_task(recipe.task)
    judged = [_wanted(row) for row in rows]
    pairs = sorted({(row.text, answer) for row, both in zip(rows, judged, strict=True) for answer in both if answer})
    before_model, tokenizer = pretrained.load_base(weights_dir, task=task, labels=(), recipe=recipe)
    before = _weights(before_model.eval(), tokenizer, pairs, recipe)
    del before_model
    model, tokenizer = pretrained.load_trained(model_dir, task=task)
    after = _weights(model, tokenizer, pairs, recipe)
    texts = list(dict.fromkeys(row.text for row in rows))
    said = dict(zip(texts, task.answer(model, tokenizer, texts), strict=True)) if texts else {}
    return [
        {
            "score_before": _score(row.text, *both, before),
            "score_after": _score(row.text, *both, after),
            "output_after": said[row.text].output,
            "by": BY_PREFERENCE,
        }
        for row, both in zip(rows, judged, strict=True)
    ]


def _wanted(row: Feedback) -> tuple[str, str]:
    """The answer that is wanted and the one that is not; empty where there is none."""
    if row.kind == "correct":
        return correction_of(row), row.output
    if row.kind == "prefer":
        return row.output, row.other_output or ""
    return (row.output, "") if thumb(row.kind, row.rating) == "approve" else ("", row.output)


def _score(text: str, wanted: str, unwanted: str, weights: Mapping[tuple[str, str], float]) -> float:
    good, bad = weights.get((text, wanted)), weights.get((text, unwanted))
    if good is not None and bad is not None:
        return good / (good + bad) if good + bad > 0 else 0.5
    return good if good is not None else 1.0 - (bad or 0.0)


def _weights(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    pairs: Sequence[tuple[str, str]],
    recipe: "Preference",
) -> dict[tuple[str, str], float]:
    """(text, answer) → the geometric mean of its tokens' probabilities, its end among them; in (0, 1]."""
    import pandas as pd
    import torch

    from components.tasks import get_task
    from components.tasks.base import IGNORED
    from components.training.preference import answer_logprobs

    task = get_task(recipe.task)
    frame = pd.DataFrame({"id": "", "text": [p for p, _ in pairs], task.columns[1]: [a for _, a in pairs]}, dtype="str")
    found: dict[tuple[str, str], float] = {}
    with torch.inference_mode():
        for start in range(0, len(pairs), recipe.batch_size):
            some = pairs[start : start + recipe.batch_size]
            examples = task.rows(frame.iloc[start : start + len(some)], tokenizer, recipe, ())
            batch = task.collate(examples, int(tokenizer.pad_token_id or 0))
            sums = answer_logprobs(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
            for pair, total, example in zip(some, sums.tolist(), examples, strict=True):
                num_tokens = sum(label != IGNORED for label in example["labels"])
                found[pair] = math.exp(total / max(1, num_tokens))
    return found
