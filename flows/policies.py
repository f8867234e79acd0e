"""When a step is tried again, and when it is not done again."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.errors import RecipeError, Transient
from components.feedback.screening_file import NAME as SCREENING
from components.feedback.screening_file import screening_policy
from components.feedback.trigger_file import NAME, trigger_policy
from components.recipes import (
    BookSource,
    CatalogueSource,
    DocstringSource,
    FileSource,
    Finetune,
    GatePolicy,
    Ingest,
    InterpreterSource,
    Loop,
    PackageSource,
    Pretrain,
    ScreeningPolicy,
    Source,
    TriggerPolicy,
    load_recipe,
)
from components.settings import load_settings

if TYPE_CHECKING:
    from prefect import Flow, Task
    from prefect.client.schemas.objects import FlowRun, State, TaskRun
    from prefect.context import TaskRunContext

    from components.evaluation.scores import Scores
    from components.training.run import TrainingRun

RECIPES = Path(__file__).parent / "recipes"

RETRIES: dict[str, Any] = {"retries": 4, "retry_delay_seconds": [1, 3, 10, 30]}
"""Of steps that ask a service: a restart of it takes some seconds."""

KEPT: dict[str, Any] = {"persist_result": True, "result_serializer": "json"}
"""Results are JSON, never a pickle: refs and figures, nothing larger."""


def only_transient(_: "Task[..., Any]", __: "TaskRun", state: "State[Any]") -> bool:
    """Prefect's retry condition: the same call may succeed later, and the error says so."""
    return isinstance(state.result(raise_on_failure=False), Transient)


@contextlib.contextmanager
def fresh(force: bool) -> Iterator[None]:
    """Within it, with `force`, steps are done anew and what they give replaces what was kept."""
    from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings

    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}) if force else contextlib.nullcontext():
        yield


# ---------------------------------------------------------------- keys
#
# A key is all that decides a step's result, and nothing else: the components' code and the tables and recipes
# that it reads. A commit that touches none of these, or a feedback row, does nothing again (design D4).

KeyOf = Callable[["TaskRunContext", dict[str, Any]], str | None]


def key(*parts: object) -> str:
    text = json.dumps([part if isinstance(part, str | int | None) else str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()


def ingest_key(_: "TaskRunContext", given: dict[str, Any]) -> str | None:
    """Recipe, assets, the content of own files, the code.

    What it is added to does not count, except for own files: there the newest ingest is to be the current version.
    """
    from components.assets import load_assets
    from components.data import versioning
    from components.data.readers.locations import fingerprint
    from components.training.lock import code_sha256

    recipe = given["recipe"]
    known = load_assets()
    read = []
    for source in recipe.sources:
        read += [known[name].sha256 for name in assets_of(source) if name in known]
        if isinstance(source, FileSource):
            content = fingerprint(source)
            if content is None or any("@" not in model for model in source.models):
                return None  # what stands at an address is known when it has been read; a champion changes
            head = versioning.head(load_settings())
            read += [content, head.version if head else ""]
        elif isinstance(source, InterpreterSource):
            read.append(sys.version)
    return key("ingest", recipe.sha256(), *read, code_sha256("components.data.versioning"))


KEYED_MODULES = (
    "components.data.versioning",
    "components.evaluation.evaluate,components.evaluation.metrics",
    "components.feedback.rater",
)
"""Whose code is part of a key; what they import counts with them."""


def training_key(_: "TaskRunContext", given: dict[str, Any]) -> str | None:
    """The lock's keys. None, so that the step is run and nothing kept, while there is no finished model."""
    from flows.keys import lock_keys

    found = trained_before(given)
    if found is None:
        return None
    return key("train", *lock_keys(given["recipe"], data=given["data"], settings=load_settings()))


def trained_before(given: dict[str, Any]) -> "TrainingRun | None":
    """What an earlier training under the very same lock has left, if it is whole."""
    from components.training.run import RUN_FILE, TrainingRun
    from flows.keys import lock_keys

    settings = load_settings()
    lock_key, exact_key = lock_keys(given["recipe"], data=given["data"], settings=settings)
    try:
        found = TrainingRun.model_validate_json((settings.workspace.runs / lock_key / RUN_FILE).read_text("utf-8"))
    except (OSError, ValueError):  # none, or it was killed between the model and this
        return None
    is_whole = any(found.model_dir.glob("*.safetensors")) and found.lock.get("exact_key") == exact_key
    return found if is_whole else None


def measuring_key(_: "TaskRunContext", given: dict[str, Any]) -> str | None:
    """Weights, table, code: they are the file's name."""
    from components.evaluation.candidate import scores_path

    path = scores_path(given["recipe"], run=given["run"], data=given["data"])
    return key("measure", path) if path.is_file() else None


def baseline_key(_: "TaskRunContext", given: dict[str, Any]) -> str | None:
    """Recipe, table, code: they are the file's name."""
    from components.evaluation.candidate import baseline_path

    path = baseline_path(given["recipe"], data=given["data"], settings=load_settings())
    return key("baseline", path) if path.is_file() else None


def measured_before(given: dict[str, Any]) -> "Scores | None":
    """What was measured of that model on that table by this code, if it was."""
    from components.evaluation.candidate import measure, scores_path

    path = scores_path(given["recipe"], run=given["run"], data=given["data"])
    return measure(**given, settings=load_settings()) if path.is_file() else None


def baseline_before(given: dict[str, Any]) -> "Scores | None":
    """The same of the plain baseline."""
    from components.evaluation.candidate import baseline_path, measure_baseline

    path = baseline_path(given["recipe"], data=given["data"], settings=load_settings())
    return measure_baseline(**given, settings=load_settings()) if path.is_file() else None


def registering_key(_: "TaskRunContext", given: dict[str, Any]) -> str:
    return key("register", given["run"].model, given["run"].lock["key"], given["run"].weights_sha256)


def judging_key(_: "TaskRunContext", given: dict[str, Any]) -> str:
    """One verdict a version and policy: a version that was judged is not judged again because a better one has come."""
    model = given["model"]
    return key("judge", model.name, model.version, model.weights_sha256, given["policy"].sha256())


def promoting_key(_: "TaskRunContext", given: dict[str, Any]) -> str:
    """One move a decision: it is not carried out again over a champion that came later."""
    return key("promote", given["judgement"].model_dump_json())


def rating_key(_: "TaskRunContext", given: dict[str, Any]) -> str | None:
    """The rater's recipe, the rows it replays, its code; None while the ledger knows of no feedback on the table."""
    from components.ledger.store import Ledger
    from components.training.lock import code_sha256
    from flows.keys import replayed_rows

    recipe, settings = given["recipe"], load_settings()
    rows = replayed_rows(recipe, settings=settings)
    with Ledger(settings) as ledger:
        if rows is None or recipe.table not in ledger.tables():
            return None
    return key("rate", recipe.sha256(), rows, code_sha256("components.feedback.rater"), settings.workspace.root)


def of_this_run(context: "TaskRunContext", given: dict[str, Any]) -> str:
    """Once a flow run, however often its process is lost: what it decided stands."""
    return key(context.task.task_key, context.task_run.flow_run_id, sorted(map(str, given.items())))


# ---------------------------------------------------------------- places


def pool_of(recipe: Pretrain | Finetune) -> Literal["cpu", "gpu"]:
    """The work pool that a recipe asks for: with `device: cuda` a machine with a GPU; any other runs anywhere."""
    return "gpu" if recipe.device == "cuda" else "cpu"


# ---------------------------------------------------------------- defaults and ends


def gate(policy: GatePolicy | None) -> GatePolicy:
    """What was asked for, or the installation's gate: `recipes/gate.yaml`."""
    found: GatePolicy = policy or load_recipe(RECIPES / "gate.yaml")
    return found


def other_seeds(recipe: Finetune, policy: GatePolicy) -> list[Finetune]:
    """The recipe with each further seed that the gate asks for; none by default."""
    return [
        recipe.model_copy(update={"seed": recipe.seed + i, "name": f"{recipe.name}-seed-{recipe.seed + i}"})
        for i in range(1, policy.minimum_seeds)
    ]


def screening() -> ScreeningPolicy:
    """Which feedback may teach, in this installation: the workspace's `screening.yaml`, else that of `recipes`."""
    return screening_policy(load_settings().workspace, default=RECIPES / SCREENING)


def trigger() -> TriggerPolicy:
    """When feedback is enough, in this installation: the workspace's `retrain-when.yaml`, else that of `recipes`."""
    return trigger_policy(load_settings().workspace, default=RECIPES / NAME)


@dataclass(frozen=True)
class Plan:
    """The recipes that a loop names."""

    ingest: Ingest
    pretrain: Pretrain
    finetune: tuple[Finetune, ...]
    rated: Finetune
    """The one whose model the rater rates."""
    assets: list[str]
    bases: list[str]


def plan(loop: Loop) -> Plan:
    """Reads them.

    Raises:
        RecipeError: one is not there, or is of another kind.
    """

    def read(name: str, kind: str) -> Any:
        recipe = load_recipe(RECIPES / f"{name}.yaml")
        if recipe.kind != kind:
            raise RecipeError(f"recipe {name} is of kind {recipe.kind}, and loop {loop.name} wants one of {kind}")
        return recipe

    ingest, finetune = read(loop.ingest, "ingest"), tuple(read(name, "finetune") for name in loop.finetune)
    rated = [recipe for recipe in finetune if recipe.table == loop.rater.table]
    if not rated:
        raise RecipeError(f"loop {loop.name} rates table {loop.rater.table}, and fine-tunes nothing on it")
    return Plan(
        ingest=ingest,
        pretrain=read(loop.pretrain, "pretrain"),
        finetune=finetune,
        rated=rated[0],
        assets=[name for source in ingest.sources for name in assets_of(source)],
        bases=list(dict.fromkeys(recipe.base for recipe in finetune if recipe.has_asset)),
    )


def assets_of(source: Source) -> tuple[str, ...]:
    """The third-party packages that a source reads."""
    if isinstance(source, PackageSource | DocstringSource | CatalogueSource):
        return source.assets
    return (source.asset,) if isinstance(source, BookSource) else ()


def let_go(flow: "Flow[..., Any]", flow_run: "FlowRun", state: "State[Any]") -> None:  # noqa: ARG001
    """A retraining that failed or was cancelled is kept as one, and gives its claim back."""
    from components.feedback.retraining import give_up

    said = (state.message or "").removeprefix("Flow run encountered an exception: ").split("\n")[0][:240]
    outcome: Literal["cancelled", "failed"] = "cancelled" if state.is_cancelled() else "failed"
    table = flow_run.parameters["table"]
    give_up(table, holder=str(flow_run.id), outcome=outcome, error=said, settings=load_settings())
