"""An answer of the ledger explained by the model version that gave it, with what that version knows of itself."""

import json
import threading
from dataclasses import dataclass
from typing import Any

from components.data import versioning
from components.errors import BanyanError, UsageError
from components.evaluation.candidate import RECIPE_TAG
from components.evaluation.explain import Explanation, Similar, Sure, calibrated, explain
from components.evaluation.registered import registry_of
from components.evaluation.similar_rows import similar_rows
from components.ledger.schema import Answer
from components.ledger.store import Ledger
from components.recipes import Finetune, parse_recipe
from components.refs import ModelRef
from components.registry import Registry, VersionInfo
from components.settings import Settings
from components.tasks import get_task
from components.tasks.base import Task

MAX_SHOWN = 600
"""Characters of a similar row."""
_ONE = threading.Lock()


class Busy(Exception):
    """Another explanation is being made; two at a time would double the peak of memory."""


class NotRetained(UsageError):
    """What was asked is kept no longer, so there is nothing to explain."""


@dataclass(frozen=True)
class Asked:
    """What may be looked at of an answer that is in the ledger."""

    answer: Answer
    is_masked: bool
    """Whether the masked copy differs from what the model was asked: then it is asked that."""


def asked(ledger: Ledger, request_id: str) -> Asked | None:
    """An answer whose prompt is still retained; None for an id that nothing has.

    Raises:
        NotRetained: the retention has passed.
    """
    answer = ledger.answer(request_id)
    if answer is None:
        return None
    whole = ledger.raw_exchange(request_id)
    if whole is None:
        raise NotRetained(
            f"the prompt of {request_id} is kept no longer", "BANYAN_PROMPT_RETENTION_DAYS says how long prompts are"
        )
    return Asked(answer, whole != (answer.text, answer.output))


def explain_answer(found: Asked, *, settings: Settings) -> Explanation:
    """The explanation. It shows the masked copy alone: where that differs, of what the model says to the copy.

    Raises:
        UsageError: the input is empty or too large to explain.
        VersionNotFound, RegistryError: the version is there no longer.
        Busy: another one is being made.
    """
    if not _ONE.acquire(blocking=False):
        raise Busy
    try:
        return _explain(found, registry_of(settings), settings)
    finally:
        _ONE.release()


def _explain(found: Asked, registry: Registry, settings: Settings) -> Explanation:
    from components.models.pretrained import load_trained

    answer = found.answer
    ref = registry.ref(answer.model_name, answer.model_version)
    info = registry.get(ref)
    task = get_task(info.task)
    model, tokenizer = load_trained(registry.fetch(ref, settings), task=task)
    made = explain(
        model,
        tokenizer,
        task,
        answer.text,
        output=None if found.is_masked else answer.output,
        confidence=answer.confidence,
    )
    similar, by = _similar(answer.text, info, task, model, tokenizer, settings)
    sure = None
    if made.confidence is not None:
        sure = _sure(made.confidence, ref, registry)
    return made.model_copy(
        update={"is_masked_copy": found.is_masked, "calibration": sure, "similar": similar, "similar_by": by}
    )


def _sure(confidence: float, ref: ModelRef, registry: Registry) -> Sure | None:
    try:
        return calibrated(confidence, registry.per_example(ref))
    except BanyanError:  # registered without its test rows
        return None


def _similar(
    text: str, info: VersionInfo, task: Task, model: Any, tokenizer: Any, settings: Settings
) -> tuple[tuple[Similar, ...], str]:
    """Of the rows that the version was trained on, which its data version holds masked."""
    from components.training.finetuning import training_rows

    try:
        recipe = parse_recipe(json.loads(info.tags.get(RECIPE_TAG, "null")), origin=f"the recipe of {info.ref}")
        if not isinstance(recipe, Finetune):
            return (), "it was trained on no rows of a task"
        data_dir = versioning.path_of(versioning.manifest(info.data_version, settings=settings).ref, settings)
        rows = training_rows(recipe, data_dir=data_dir)
    except BanyanError as err:  # its data are not of this workspace
        return (), f"its training rows are not here: {err.message}"
    nearest, by = similar_rows(text, rows, model=model, tokenizer=tokenizer)
    found = [(rows.iloc[i], similarity) for i, similarity in nearest]
    return tuple(
        Similar(
            id=str(row["id"]),
            text=str(row["text"])[:MAX_SHOWN],
            target=str(row[task.columns[1]])[:MAX_SHOWN],
            similarity=similarity,
        )
        for row, similarity in found
    ), by
