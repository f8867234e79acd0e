"""What became of feedback: admitted or refused, trained on, and what difference it made.

Every function may be called again after an interruption: the ledger keeps each step once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from components.data.tables import content_id, empty_frame, read_split
from components.errors import LedgerError
from components.feedback.curation import Curated
from components.feedback.reasons import NO_CORRECTION
from components.ledger.schema import Fate, Feedback
from components.ledger.store import Ledger
from components.refs import DataRef, ModelRef
from components.tasks.base import Answer, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Preference


@dataclass(frozen=True)
class Effect:
    """What a model makes of the feedback it was trained on. Shares are mean scores in [0, 1]; None of no rows.

    These rows were in its training set: the test split alone says whether it became better.
    """

    num_corrected: int
    corrected_right_before: float | None
    corrected_now_right: float | None
    num_approved: int
    approved_still_right: float | None


def screened(ledger: Ledger, curated: Curated, *, data: DataRef | None) -> int:
    """Record what curation decided; gives how many steps are new.

    Args:
        data: the version that holds the admitted rows; None when none was admitted, so that there is no new one.

    Raises:
        LedgerError: there are admitted rows, but no version that holds them.
    """
    if curated.admitted and data is None:
        raise LedgerError(f"{len(curated.admitted)} rows were admitted to no data version", "commit the version first")
    version = data.version if data else ""
    steps = [ledger.fate(one.feedback.feedback_id, "admitted", data_version=version) for one in curated.admitted]
    # With the version too: a row may be refused from one version, admitted to the next, and refused again.
    steps += [
        ledger.fate(one.feedback.feedback_id, "refused", reason=one.reason, data_version=version)
        for one in curated.refused
    ]
    return ledger.append_fates(steps)


def trained(ledger: Ledger, table: str, *, data: DataRef, model: ModelRef) -> int:
    """Record that `model` was trained on the feedback that `data` admitted; gives how many steps are new."""
    return ledger.append_fates(
        [
            ledger.fate(
                row.feedback_id,
                "trained",
                data_version=data.version,
                model_name=model.name,
                model_version=model.version,
            )
            for row in ledger.admitted_to(table, data.version)
        ]
    )


def preferred(ledger: Ledger, feedback_ids: Sequence[str], *, data: DataRef, model: ModelRef) -> int:
    """Record that `model` was trained on what these rows prefer; gives how many steps are new."""
    known = {"data_version": data.version, "model_name": model.name, "model_version": model.version}
    return ledger.append_fates([ledger.fate(one, "trained", **known) for one in feedback_ids])


def preferred_measured(
    ledger: Ledger,
    feedback_ids: Sequence[str],
    *,
    recipe: "Preference",
    data: DataRef,
    model: ModelRef,
    weights_dir: Path,
    model_dir: Path,
) -> int:
    """Record how much more `model` likes what people like than what it started from; gives how many steps are new.

    Args:
        weights_dir: what the training started from.
        model_dir: the model's Hugging Face folder.
    """
    from components.feedback.preference_effects import effects

    wanted = set(feedback_ids)
    rows = [row for row in ledger.feedback_upto(recipe.table, ledger.cut()) if row.feedback_id in wanted]
    found = effects(rows, recipe=recipe, weights_dir=weights_dir, model_dir=model_dir) if rows else []
    known = {"data_version": data.version, "model_name": model.name, "model_version": model.version}
    return ledger.append_fates(
        [ledger.fate(row.feedback_id, "measured", **known, effect=one) for row, one in zip(rows, found, strict=True)]
    )


def measured(
    ledger: Ledger, table: str, *, data: DataRef, model: ModelRef, model_dir: Path, data_dir: Path, task: Task
) -> Effect:
    """Ask the model again what people gave feedback on, and record the effect row by row.

    Of a thumb down that names no answer, too: it stays refused, and says whether the model still gives that answer.

    Args:
        model_dir: the model's Hugging Face folder.
        data_dir: the checkout of `data`, whose split `feedback` holds the rows' targets.

    Raises:
        LedgerError: the version does not hold the rows that the ledger says it admitted.
    """
    from components.models.pretrained import load_trained

    rows = ledger.admitted_to(table, data.version)
    disliked = ledger.refused_from(table, data.version, reason=NO_CORRECTION)
    if not rows and not disliked:
        return effect_of([])
    network, tokenizer = load_trained(model_dir, task=task)
    about: dict[str, Any] = {"task": task, "model": model, "data": data}
    targets = read_split(data_dir, table, "feedback") if rows else empty_frame(task.name)
    steps = replay(rows, targets, network, tokenizer, **about) if rows else []
    asked_again = ask_again(disliked, targets, network, tokenizer, **about) if disliked else []
    ledger.append_fates([replace(step, at=ledger.now()) for step in (*(step for _, step in steps), *asked_again)])
    return effect_of(steps)


def replay(
    rows: list[Feedback],
    targets: pd.DataFrame,
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    task: Task,
    model: ModelRef,
    data: DataRef,
) -> list[tuple[Feedback, Fate]]:
    """The fate `measured` of each row: the old answer's and the new answer's score against the row's target.

    Args:
        targets: rows of the table, with at least all those whose text a feedback row is about.

    Raises:
        LedgerError: a feedback row's text is not among the targets.
    """
    by_id = targets.set_index("id", drop=False)
    ids = [content_id(row.text) for row in rows]
    if missing := sorted(set(ids) - set(by_id.index)):
        raise LedgerError(
            f"{len(missing)} of {len(rows)} admitted rows are not in data version {data.version}, first {missing[0]}",
            "use the version that the ledger names",
        )
    wanted = by_id.loc[ids].reset_index(drop=True)
    before = task.score([Answer(row.output, 0.0, ((row.output, 0.0),)) for row in rows], wanted)
    answers = task.answer(network, tokenizer, [row.text for row in rows])
    after = task.score(answers, wanted)
    return [
        (
            row,
            Fate(
                feedback_id=row.feedback_id,
                at=0.0,
                fate="measured",
                data_version=data.version,
                model_name=model.name,
                model_version=model.version,
                effect={
                    "score_before": float(before["score"].iloc[i]),
                    "score_after": float(after["score"].iloc[i]),
                    "output_after": answers[i].output,
                },
            ),
        )
        for i, row in enumerate(rows)
    ]


def ask_again(
    rows: list[Feedback],
    targets: pd.DataFrame,
    network: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    task: Task,
    model: ModelRef,
    data: DataRef,
) -> list[Fate]:
    """A further step `refused` of each row whose answer was disliked: what the model, not trained on it, answers now.

    Its effect has `output_after` and `is_given_again`; another answer need not be a better one. Where somebody has said
    what is right to the same text, that is among the targets, and the effect has `score_before` and `score_after`, too.
    """
    answers = task.answer(network, tokenizer, [row.text for row in rows])
    by_id = targets.set_index("id", drop=False)
    ids = [content_id(row.text) for row in rows]
    known = [i for i, one in enumerate(ids) if one in by_id.index]
    scores: dict[int, tuple[float, float]] = {}
    if known:
        wanted = by_id.loc[[ids[i] for i in known]].reset_index(drop=True)
        before = task.score([Answer(rows[i].output, 0.0, ((rows[i].output, 0.0),)) for i in known], wanted)["score"]
        after = task.score([answers[i] for i in known], wanted)["score"]
        scores = {i: (float(before.iloc[at]), float(after.iloc[at])) for at, i in enumerate(known)}
    return [
        Fate(
            feedback_id=row.feedback_id,
            at=0.0,
            fate="refused",
            reason=NO_CORRECTION,
            data_version=data.version,
            model_name=model.name,
            model_version=model.version,
            effect={"output_after": answers[i].output, "is_given_again": answers[i].output == row.output}
            | (dict(zip(("score_before", "score_after"), scores[i], strict=True)) if i in scores else {}),
        )
        for i, row in enumerate(rows)
    ]


def effect_of(steps: list[tuple[Feedback, Fate]]) -> Effect:
    """Shares over rows and their `measured` fates (as `LedgerQueries.effects` gives them, too)."""

    def share(kind: str, key: str) -> float | None:
        scores = [float(step.effect[key]) for row, step in steps if row.kind == kind and step.effect]
        return sum(scores) / len(scores) if scores else None

    return Effect(
        num_corrected=sum(row.kind == "correct" for row, _ in steps),
        corrected_right_before=share("correct", "score_before"),
        corrected_now_right=share("correct", "score_after"),
        num_approved=sum(row.kind == "approve" for row, _ in steps),
        approved_still_right=share("approve", "score_after"),
    )
