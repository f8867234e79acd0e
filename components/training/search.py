"""Choosing hyper-parameters: short trainings judged on training rows that are held out, never on the test split.

Optuna (Akiba et al. 2019, arXiv 1907.10902) proposes by a tree-structured Parzen estimator (Bergstra et al. 2011) and
stops trials that lag behind the median; the first trial is the recipe as it is. The best one's fields are what is then
trained, on all rows.
"""

import hashlib
import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from components.data import tables, versioning
from components.errors import DataError, NonFiniteLoss, RecipeError
from components.models import pretrained
from components.recipes import Finetune, Search, parse_recipe
from components.refs import DataRef
from components.settings import Settings
from components.tasks import get_task
from components.training import bases
from components.training.device import exact, resolve
from components.training.finetuning import finetune, split_off, training_rows
from components.training.result import Evaluation
from components.training.turns import alone_on

if TYPE_CHECKING:
    import optuna
    import pandas as pd

log = logging.getLogger(__name__)

REPORT = "search.json"
"""Artifact of the run whose recipe a search chose; and a file of the search's folder."""
LOOKS = 4
"""How often a trial is looked at: at each quarter of its steps it may be stopped."""

State = Literal["finished", "stopped", "failed"]
STATES: dict[str, State] = {"COMPLETE": "finished", "PRUNED": "stopped"}
"""Optuna's name → ours."""

Watch = Callable[[str], None]


class Trial(BaseModel):
    """One short training."""

    model_config = ConfigDict(frozen=True)

    number: int
    fields: dict[str, Any]
    """Of the recipe, as this trial had them."""
    state: State
    """`stopped`: it lagged behind; `failed`: its loss was no number, or its fields did not go together."""
    loss: float | None
    """Nats per target on the held-out rows: at the end, or where it was stopped."""
    score: float | None = None
    """Mean over the held-out rows of what the gate compares, where trials are judged by it."""
    seconds: float


class Found(BaseModel):
    """What a search has found."""

    model_config = ConfigDict(frozen=True)

    recipe: Finetune
    """The one that was searched for, with the best trial's fields: what is to be trained."""
    best: Trial
    trials: tuple[Trial, ...]
    validation_rows: int
    seconds: float
    """Of all trials together."""
    path: Path
    """`search.json`, with all of this."""

    def ranked(self) -> list[Trial]:
        """The best one first; those that did not get to their end last."""
        return sorted(self.trials, key=_rank)

    def lines(self) -> list[str]:
        """For people: the trials, the best one first."""
        return [
            f"  {'→' if trial == self.best else ' '} trial {trial.number}: "
            + ", ".join(f"{name} {_plain(value)}" for name, value in trial.fields.items())
            + (f": loss {trial.loss:.4f}" if trial.loss is not None else "")
            + (f", score {trial.score:.4f}" if trial.score is not None else "")
            + ("" if trial.state == "finished" else f" ({trial.state})")
            + f", {trial.seconds:.0f} s"
            for trial in self.ranked()
        ]


def _rank(trial: Trial) -> tuple[bool, float, float]:
    """The best trial's is the least; of equal scores the one that loses less."""
    return trial.state != "finished", -(trial.score or 0.0), math.inf if trial.loss is None else trial.loss


def search(
    search: Search, recipe: Finetune, *, data: DataRef, settings: Settings, watch: Watch = lambda _: None
) -> Found:
    """The fields of `search.space` with which the recipe loses least, or scores best, on held-out training rows.

    Killed, it goes on with the trials that were finished; the next ones may be others than an undisturbed search's.
    What is chosen stands in the recipe, so that the training is exact all the same.

    Args:
        watch: told of every trial in a line.

    Raises:
        RecipeError: the space names a field that the recipe does not have, or no trial could be trained.
        DataError: too few rows to hold some out.
        AssetError, MappingError, TrainingError: as the trainings do.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data_dir = versioning.path_of(data, settings)
    table = tables.table_sha256(data_dir, recipe.table)
    key = hashlib.sha256(f"{search.sha256()} {recipe.sha256()} {table}".encode()).hexdigest()[:24]
    folder = settings.workspace.root / "searches" / key
    _check(search, recipe, data_dir=data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "trials.log")))
    study = optuna.create_study(
        storage=storage,
        study_name=search.name,
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=max(3, search.max_trials // 3)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3) if search.stop_early else optuna.pruners.NopPruner(),
    )
    for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)  # its process was killed
    if not _done(study) and not study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
        study.enqueue_trial(_own(search, recipe))
    while len(_done(study)) < search.max_trials and _seconds(study) < 60 * search.minutes:
        trial, started = study.ask(), time.perf_counter()
        state = _run(trial, search, recipe, data_dir=data_dir, folder=folder, settings=settings)
        trial.set_user_attr("seconds", time.perf_counter() - started)
        told = study.tell(trial, **state)
        watch(_line(told, study, search))
    return _found(study, search, recipe, data_dir=data_dir, folder=folder)


def _run(
    trial: "optuna.Trial", search: Search, recipe: Finetune, *, data_dir: Path, folder: Path, settings: Settings
) -> dict[str, Any]:
    """What to tell the study of a trial."""
    import optuna

    states = optuna.trial.TrialState
    scratch = folder / f"trial-{trial.number}"
    try:
        fields = {name: _suggest(trial, name, search) for name in search.space}
        tried = _with(recipe, fields, search)
        train, held_out = split_off(training_rows(tried, data_dir=data_dir), tried)
        every = max(1, math.ceil(tried.steps_over(len(train)) / LOOKS))
        tried = tried.model_copy(update={"evaluate_every_steps": every})

        def look(evaluation: Evaluation) -> None:
            trial.report(evaluation.metrics["heldout_loss"], step=math.ceil(evaluation.step / every))
            if trial.should_prune():
                raise optuna.TrialPruned

        weights = bases.weights(tried, data_dir=data_dir, settings=settings)
        with alone_on(resolve(tried.device).type, workspace=settings.workspace):
            done = finetune(tried, data_dir=data_dir, weights_dir=weights, run_dir=scratch, on_evaluate=look)
            value = loss = done.metrics["heldout_loss"]
            if search.judge == "score":
                score = _score(done.model_dir, held_out, tried)
                trial.set_user_attr("score", score)
                value = 1 - score
        trial.set_user_attr("loss", loss)
        return {"values": value, "state": states.COMPLETE}
    except optuna.TrialPruned:
        return {"state": states.PRUNED}  # the study takes the last loss that it was told
    except (NonFiniteLoss, RecipeError) as err:
        log.info("trial %d: %s", trial.number, err)
        return {"state": states.FAIL}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _score(model_dir: Path, rows: "pd.DataFrame", recipe: Finetune) -> float:
    task = get_task(recipe.task)
    model, tokenizer = pretrained.load_trained(model_dir, task=task)
    with exact():
        answers = task.answer(model, tokenizer, list(rows["text"]))
    return float(task.score(answers, rows)["score"].mean())


def _own(search: Search, recipe: Finetune) -> dict[str, Any]:
    """What the recipe says of itself, as far as it lies in the space: the rest of that trial is proposed."""
    own: dict[str, Any] = {}
    for name, span in search.space.items():
        value = getattr(recipe, name)
        if isinstance(span, tuple):
            own |= {name: span.index(value)} if value in span else {}
        elif value is not None and span.low <= value <= span.high:
            own[name] = value
    return own


def _line(trial: "optuna.trial.FrozenTrial", study: "optuna.Study", search: Search) -> str:
    fields = ", ".join(f"{name} {_plain(value)}" for name, value in _fields(trial, search).items())
    told = _trial(trial, search)
    value = "no loss" if told.loss is None else f"loss {told.loss:.4f}"
    value += "" if told.score is None else f", score {told.score:.4f}"
    return (
        f"trial {len(_done(study))} of at most {search.max_trials}, {_seconds(study) / 60:.1f} of {search.minutes:g} "
        f"minutes: {fields}: {value} ({told.state})"
    )


def _check(search: Search, recipe: Finetune, *, data_dir: Path) -> None:
    """Raise before the first trial for what every trial would fail by."""
    if unknown := sorted(set(search.space) - set(Finetune.model_fields)):
        raise RecipeError(
            f"{search.name}: space: a fine-tuning has no field {', '.join(unknown)}", "see docs/guide/recipes.md"
        )
    rows = training_rows(recipe, data_dir=data_dir)
    _, held_out = split_off(rows, recipe.model_copy(update={"validation_share": search.validation_share}))
    if len(held_out) < search.minimum_validation_rows:
        raise DataError(
            f"{search.name}: {len(held_out)} of {len(rows)} rows would be held out to judge the trials by, fewer than "
            f"{search.minimum_validation_rows}",
            "raise validation_share, or gather more rows",
        )


def _suggest(trial: "optuna.Trial", name: str, search: Search) -> Any:
    span = search.space[name]
    if isinstance(span, tuple):
        return span[trial.suggest_categorical(name, list(range(len(span))))]  # choices may be anything YAML can say
    if isinstance(span.low, int) and isinstance(span.high, int):
        return trial.suggest_int(name, span.low, span.high, log=span.log)
    return trial.suggest_float(name, span.low, span.high, log=span.log)


def _with(recipe: Finetune, fields: dict[str, Any], search: Search) -> Finetune:
    """The recipe of a trial: `num_epochs` and `num_steps` exclude each other, and the one that is searched counts."""
    content = recipe.model_dump(mode="json") | {"validation_share": search.validation_share} | fields
    for one, other in (("num_epochs", "num_steps"), ("num_steps", "num_epochs")):
        if one in fields:
            content[other] = None
    tried: Finetune = parse_recipe(content, origin=f"{search.name}: a trial")
    return tried


def _done(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """Trials that ran to an end of their own: a killed one has told no seconds."""
    return [trial for trial in study.get_trials(deepcopy=False) if "seconds" in trial.user_attrs]


def _seconds(study: "optuna.Study") -> float:
    return float(sum(trial.user_attrs["seconds"] for trial in _done(study)))


def _found(study: "optuna.Study", search: Search, recipe: Finetune, *, data_dir: Path, folder: Path) -> Found:
    trials = tuple(_trial(trial, search) for trial in _done(study))
    best = min(trials, key=_rank)
    if best.state != "finished":
        raise RecipeError(
            f"{search.name}: none of {len(trials)} trials could be trained to its end",
            "widen the space, raise minutes, or try the recipe itself: banyan train RECIPE --dry-run",
        )
    chosen = _with(recipe, best.fields, search).model_copy(update={"validation_share": recipe.validation_share})
    share = recipe.model_copy(update={"validation_share": search.validation_share})
    found = Found(
        recipe=chosen,
        best=best,
        trials=trials,
        validation_rows=len(split_off(training_rows(recipe, data_dir=data_dir), share)[1]),
        seconds=_seconds(study),
        path=folder / REPORT,
    )
    found.path.write_text(found.model_dump_json(indent=1), "utf-8")
    return found


def _trial(trial: "optuna.trial.FrozenTrial", search: Search) -> Trial:
    loss = trial.user_attrs.get("loss", trial.value)  # of one that was stopped its value is the last loss it told
    return Trial(
        number=trial.number,
        fields=_fields(trial, search),
        state=STATES.get(trial.state.name, "failed"),
        loss=loss if loss is not None and math.isfinite(loss) else None,
        score=trial.user_attrs.get("score"),
        seconds=trial.user_attrs["seconds"],
    )


def _fields(trial: "optuna.trial.FrozenTrial", search: Search) -> dict[str, Any]:
    """Field → value: of choices the study knows only the place."""
    found = {}
    for name, value in trial.params.items():
        span = search.space[name]
        found[name] = span[value] if isinstance(span, tuple) else value
    return found


def _plain(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
