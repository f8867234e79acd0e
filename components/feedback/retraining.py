"""What a retraining does with feedback: claims it, makes a data version of it, and tells each row what came of it."""

import logging
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from components.data import versioning
from components.data.tables import table_info
from components.errors import DataStoreError, MappingError, RecipeError, VersionNotFound
from components.evaluation.candidate import Judgement
from components.feedback import fates, preferences, triggers
from components.feedback.curation import rows_for_training
from components.ledger.attempts import LEASE_SECONDS, AttemptCause, Lost, lease_name
from components.ledger.store import Ledger
from components.recipes import Finetune, Preference, ScreeningPolicy, TriggerPolicy
from components.refs import DataRef, ModelRef
from components.registry import Registry, model_name
from components.settings import Settings
from components.supervisor import addresses
from components.tasks import get_task
from components.training import bases, preference_rows
from components.training.recipes import CHAMPION

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

DATA_CHANGED = "banyan.data.changed"


class Claim(BaseModel):
    """Whether a retraining may begin, and on which feedback."""

    model_config = ConfigDict(frozen=True)

    outcome: Literal[
        "Granted", "NotEnoughFeedback", "AlreadyRetraining", "BackingOff", "Resting", "CeilingReached", "NotWorthIt"
    ]
    reason: str
    """Why, or why not, with the numbers; for a person."""
    cause: AttemptCause = "asked"
    needs_feedback: bool = True
    """False where something else is the cause: then no row need be admitted."""
    cut: int = 0
    """The newest feedback row's sequence: what comes later is for the next retraining."""


class Collected(BaseModel):
    """The feedback up to a cut, as data."""

    model_config = ConfigDict(frozen=True)

    table: str
    cut: int
    data: DataRef | None
    """The version that holds the admitted rows; None: none was admitted."""
    num_admitted: int
    num_refused: int
    reasons: dict[str, int]


def claim(
    table: str, *, trigger: TriggerPolicy | None, cut: int | None, holder: str, force: bool, settings: Settings
) -> Claim:
    """Counts, and keeps others from beginning the same.

    A bell that was rung for something else than feedback is rung again when the answer may be another: nobody else
    would know that there is still a reason.

    Args:
        trigger: what is enough, and what is too much; None: somebody asked, and anything new is enough.
        cut: a cut of before: the same cut gives the same weights, whatever has come since.
        holder: who claims; the same holder claims again after an interruption.
    """
    with Ledger(settings) as ledger:
        pending = ledger.pending(table)
        reason, cause = f"{pending.count} rows of feedback on {table} since the last retraining", None
        if cut is not None or force:
            reason = f"somebody asked for it, {'anew' if force else f'on the feedback up to {cut}'}; {reason}"
        elif trigger is not None:
            decision = triggers.decide(trigger, triggers.look(table, trigger, ledger=ledger, settings=settings))
            reason, cause = f"{table}: {decision.reason}", decision.cause
            if not decision.starts:
                if decision.again_at is not None and cause != "feedback":
                    ledger.look_again(table, at=decision.again_at)
                return Claim(outcome=decision.outcome, reason=reason)
        elif not pending.count:
            return Claim(outcome="NotEnoughFeedback", reason=f"no feedback on {table} waits; 1 row is enough")
        if not ledger.lease(lease_name(table), holder=holder, seconds=LEASE_SECONDS):
            if cause not in (None, "feedback"):
                ledger.look_again(table, at=ledger.now())  # delivered when the other is over
            return _taken(table)
        cut = ledger.cut() if cut is None else cut
        needs_feedback = cause in (None, "feedback")
        return Claim(outcome="Granted", reason=reason, cause=cause or "asked", needs_feedback=needs_feedback, cut=cut)


def hold(table: str, *, claimed: Claim, holder: str, settings: Settings) -> Claim:
    """The claim, where it is still `holder`'s or free; else AlreadyRetraining. From here on it is an attempt.

    What was claimed was given back when the run failed, and somebody tries it again; or it lapsed while the machine
    was off.
    """
    if claimed.outcome != "Granted":
        return claimed
    with Ledger(settings) as ledger:
        if not ledger.lease(lease_name(table), holder=holder, seconds=LEASE_SECONDS):
            return _taken(table)
        ledger.begin_attempt(table, run_id=holder, cause=claimed.cause)
    return claimed


def _taken(table: str) -> Claim:
    return Claim(outcome="AlreadyRetraining", reason=f"another retraining of {table} is at work")


def give_up(table: str, *, holder: str, outcome: Lost, error: str, settings: Settings) -> None:
    """A retraining came to nothing: kept, so that the next waits, and its claim given back.

    One that failed before it had its claim counts as well: it would be rung for every minute.
    """
    with Ledger(settings) as ledger:
        ledger.begin_attempt(table, run_id=holder, cause="unknown")
        ledger.give_up(table, run_id=holder, outcome=outcome, error=error)


def pass_on(table: str, *, holder: str, to: str, settings: Settings) -> None:
    """Gives a claim to another run, which may wait long for a worker: no third one begins meanwhile."""
    with Ledger(settings) as ledger:
        ledger.pass_on(table, holder=holder, to=to)


def ring(before: DataRef | None, now: DataRef, *, trigger: TriggerPolicy, settings: Settings) -> list[str]:
    """Leaves word of tables that have changed, where a table's data can be a cause; which. The retraining looks."""
    if before is None or not (trigger.on_new_data or trigger.maximum_drift is not None):
        return []
    changed = [table for table, sha256 in now.tables.items() if before.tables.get(table, sha256) != sha256]
    if changed:
        with Ledger(settings) as ledger:
            for table in changed:
                ledger.ring(DATA_CHANGED, table, {"from": before.version, "to": now.version})
    return changed


def collect(
    table: str,
    *,
    cut: int | None,
    task: str,
    settings: Settings,
    policy: ScreeningPolicy | None = None,
    may_be_empty: bool = False,
) -> Collected:
    """Screens the feedback up to `cut`, commits the admitted rows as a data version, and records every row's fate.

    Without a cut it is all there is. Where none is admitted there is no data to retrain on, unless it `may_be_empty`:
    then it is the newest version.

    Raises:
        DataStoreError: there is no data version to add to.
        ValidationFailed: the admitted rows do not pass; the last good version stands.
    """
    base = versioning.head(settings)
    if base is None:
        raise DataStoreError("there is no data version to add feedback to", "ingest first")
    with Ledger(settings) as ledger:
        cut = ledger.cut() if cut is None else cut
        data_dir = versioning.path_of(base, settings)
        curated = rows_for_training(ledger, table, cut, task=get_task(task), data_dir=data_dir, policy=policy)
        data = (
            versioning.admit(curated.rows, table=table, settings=settings)
            if curated.admitted
            else (base if may_be_empty else None)
        )
        fates.screened(ledger, curated, data=data)
    log.info("%d rows admitted, %d refused: %s", len(curated.admitted), len(curated.refused), curated.reasons)
    return Collected(
        table=table,
        cut=cut,
        data=data,
        num_admitted=len(curated.rows),
        num_refused=len(curated.refused),
        reasons=curated.reasons,
    )


def kept_aside(
    collected: Collected, *, task: str, settings: Settings, policy: ScreeningPolicy | None = None
) -> "pd.DataFrame | None":
    """The feedback test set as of the cut, which no training sees; None where the policy keeps nobody aside.

    Raises:
        LedgerError: the ledger did not answer.
    """
    if policy is None or not policy.heldout_share or collected.data is None:
        return None
    data_dir = versioning.path_of(collected.data, settings)
    with Ledger(settings) as ledger:
        return rows_for_training(
            ledger, collected.table, collected.cut, task=get_task(task), data_dir=data_dir, policy=policy
        ).kept_aside


def prefer(
    recipe: Preference, *, data: DataRef, settings: Settings, policy: ScreeningPolicy | None = None
) -> Preference:
    """The recipe with what it leaves open written into it: which champion it starts from, and which rows it learns.

    Rows are what screening leaves of all feedback so far; a recipe that names its rows keeps them.

    Raises:
        DataError: the feedback holds no preference.
        DataStoreError: the rows that the recipe names are not here.
        VersionNotFound: the table has no champion.
        RecipeError: the recipe's task does not write.
        MappingError: the table is not there, or is another task's.
    """
    if get_task(recipe.task).head != "generator":
        raise RecipeError(f"{recipe.name}: {recipe.task} does not write", "train it on corrections: kind finetune")
    data_dir = versioning.path_of(data, settings)
    if (task := table_info(data_dir, recipe.table).task) != recipe.task:
        raise MappingError(
            f"table {recipe.table!r} is of task {task}, not {recipe.task}", "change the recipe's task or table"
        )
    known: dict[str, str] = {}
    if recipe.base == CHAMPION:
        registry = Registry(addresses(settings).mlflow)
        champion = registry.champion(model_name(recipe.table))
        if champion is None:
            raise VersionNotFound(
                f"{model_name(recipe.table)} has no champion to start from",
                f"fine-tune one first, or name a version or an asset: --set base={model_name(recipe.table)}@1",
            )
        known["base"] = f"{champion.name}@{champion.version}"
    runs = settings.workspace.runs
    if recipe.rows:
        preference_rows.text_of(recipe.rows, runs=runs)
    else:
        with Ledger(settings) as ledger:
            cut = ledger.cut()
            curated = rows_for_training(
                ledger, recipe.table, cut, task=get_task(recipe.task), data_dir=data_dir, policy=policy
            )
            usable = preferences.usable(ledger.feedback_upto(recipe.table, cut), curated.refused)
        made = preferences.dpo_pairs(usable) if recipe.method == "dpo" else preferences.kto_rows(usable)
        known["rows"] = preference_rows.keep(preference_rows.as_text(made, method=recipe.method), runs=runs)
        preference_rows.keep_givers(preferences.taught(usable, made), known["rows"], runs=runs)
        log.info("%d rows for %s of %d rows of feedback on %s", len(made), recipe.method, len(usable), recipe.table)
    return Preference.model_validate(recipe.model_dump() | known)


def tell_preferred(recipe: Preference, *, data: DataRef, model: ModelRef, settings: Settings) -> int:
    """Records the fates `trained` and `measured` of the feedback that a training by preference learnt from; how many.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    ids = preference_rows.givers(recipe.rows, runs=settings.workspace.runs)
    if not ids:
        return 0
    weights_dir = bases.weights(recipe, data_dir=versioning.path_of(data, settings), settings=settings)
    model_dir = Registry(addresses(settings).mlflow).fetch(model, settings)
    folders = {"weights_dir": weights_dir, "model_dir": model_dir}
    with Ledger(settings) as ledger:
        fates.preferred(ledger, ids, data=data, model=model)
        fates.preferred_measured(ledger, ids, recipe=recipe, data=data, model=model, **folders)
    return len(ids)


def consume(collected: Collected, *, judgement: Judgement | None, holder: str, settings: Settings) -> None:
    """Closes the cut: what lies below it has had its verdict, or was refused whole. The next retraining may begin."""
    with Ledger(settings) as ledger:
        outcome = judgement.verdict.verdict if judgement else "refused"
        model = judgement.challenger if judgement else None
        ledger.consume(collected.table, collected.cut, outcome=outcome, model=model)
        ledger.end_attempt(holder, outcome=outcome, model=model)
        ledger.release(lease_name(collected.table), holder=holder)


def tell(collected: Collected, *, model: ModelRef, recipe: Finetune, settings: Settings) -> dict[str, Any]:
    """Records the fates `trained` and `measured` of the admitted rows; the effect in figures.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    assert collected.data is not None
    registry = Registry(addresses(settings).mlflow)
    with Ledger(settings) as ledger:
        fates.trained(ledger, collected.table, data=collected.data, model=model)
        effect = fates.measured(
            ledger,
            collected.table,
            data=collected.data,
            model=model,
            model_dir=registry.fetch(model, settings),
            data_dir=versioning.path_of(collected.data, settings),
            task=get_task(recipe.task),
        )
    log.info("what %s makes of the feedback it was trained on: %s", model, effect)
    return dict(vars(effect))


def control_of(recipe: Finetune, *, settings: Settings) -> tuple[Finetune, DataRef] | None:
    """The control to the table's newest retraining: as many random labelled rows in place of the admitted feedback.

    Gives its recipe and the data version that the retraining had; None when no retraining reached the gate.
    """
    with Ledger(settings) as ledger:
        reached = [one for one in ledger.cuts(recipe.table) if one.model_version]
    if not reached:
        return None
    registry = Registry(addresses(settings).mlflow)
    model = registry.ref(reached[-1].model_name, reached[-1].model_version)
    manifest = versioning.manifest(registry.get(model).data_version, settings=settings)
    num_rows = manifest.rows[recipe.table]["feedback"].total
    splits = {"train": recipe.splits.get("train"), "reserve": num_rows}
    control = recipe.model_copy(update={"name": f"{recipe.name}-control", "splits": splits, "role": "control"})
    return control, manifest.ref
