"""The steps that flows are made of: each one component function, run, watched, retried and cached by Prefect."""

from functools import partial
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment as placed
from prefect.runtime import flow_run

from components import assets
from components.data import packed_versions, versioning
from components.errors import DataStoreError
from components.evaluation import candidate
from components.evaluation.candidate import Judgement
from components.evaluation.scores import Scores
from components.feedback import rater, retraining
from components.feedback.rater import RaterReport
from components.feedback.retraining import Claim, Collected
from components.names import find_names
from components.recipes import Finetune, GatePolicy, Ingest, Preference, Pretrain, Rater, Search, TriggerPolicy
from components.refs import DataRef, ModelRef
from components.registered import open_model
from components.registry import Registry
from components.settings import load_settings
from components.supervisor import addresses
from components.training import run as training
from components.training import search as searching
from components.training import verify as verification
from components.training.run import TrainingRun
from components.training.search import Found
from components.training.verify import Verification
from flows import places, policies, shown, waiting
from flows.unchanged import step

_TRIED = {**policies.RETRIES, "retry_condition_fn": policies.only_transient}
_CACHED = {**_TRIED, **policies.KEPT}


# ---------------------------------------------------------------- data


@step(**_CACHED, cache_key_fn=policies.ingest_key, task_run_name="build, validate, version {recipe.name}")
def ingest(recipe: Ingest) -> DataRef:
    """Sources → a validated, versioned set of tables."""
    settings = load_settings()
    before = versioning.head(settings)
    names, models = partial(find_names, settings=settings), partial(open_model, settings=settings)
    made = versioning.ingest(recipe, settings=settings, progress=shown.line, names=names, models=models)
    retraining.ring(before, made, trigger=policies.trigger(), settings=settings)
    return shown.data(made)


@step(only_reads=True, task_run_name="current data")
def current_data(data: DataRef | None) -> DataRef:
    """The data version that was asked for, or the newest; DataStoreError where there is none.

    One that this machine does not know comes from the remote, by its hash.
    """
    settings = load_settings()
    if data is not None and all(one.ref.version != data.version for one in versioning.versions(settings)):
        return shown.data(versioning.adopt(_pointer(data), settings=settings))
    found = data or versioning.head(settings)
    if found is None:
        raise DataStoreError("there is no data version yet", "first: banyan ingest FILE --task T")
    return shown.data(found)


@step(only_reads=True, task_run_name="fetch data version")
def adopt(data: DataRef | None) -> None:
    """On a machine with a workspace of its own: the version that was newest where the run was asked for."""
    settings = load_settings()
    if data is not None and settings.prefect_url and versioning.head(settings) != data:
        versioning.adopt(_pointer(data), settings=settings)


def _pointer(data: DataRef) -> str:
    return f"outs:\n- md5: {data.version}.dir\n  hash: md5\n  path: data\n"


@step(only_reads=True, task_run_name="packed corpus of {recipe.name}")
def packed_data(recipe: Pretrain) -> DataRef:
    """The data version of the packed corpus that a recipe names; a folder that is none becomes one."""
    assert recipe.packed is not None  # the flow asked
    return shown.data(packed_versions.find_packed(recipe.packed, settings=load_settings()))


# ---------------------------------------------------------------- models


@step(
    **_CACHED,
    cache_key_fn=policies.training_key,
    at_hand=policies.trained_before,
    task_run_name="train {recipe.name}",
)
def train(recipe: Pretrain | Preference | Finetune, data: DataRef, force: bool = False) -> TrainingRun:
    """A model by the recipe; goes on at its last checkpoint when it was interrupted."""
    with shown.progress(recipe.name) as watch:
        return shown.trained(training.train(recipe, data=data, settings=load_settings(), watch=watch, force=force))


@step(
    **_CACHED,
    cache_key_fn=policies.measuring_key,
    at_hand=policies.measured_before,
    task_run_name="measure {recipe.name}",
)
def measure(recipe: Preference | Finetune, data: DataRef, run: TrainingRun) -> Scores:
    """The model on the test split, row by row."""
    return candidate.measure(recipe, run=run, data=data, settings=load_settings())


@step(
    **_CACHED,
    cache_key_fn=policies.baseline_key,
    at_hand=policies.baseline_before,
    task_run_name="measure the baseline",
)
def measure_baseline(recipe: Preference | Finetune, data: DataRef) -> Scores:
    """The plain baseline on the same rows."""
    return candidate.measure_baseline(recipe, data=data, settings=load_settings())


@step(**_TRIED, task_run_name="measure what {recipe.name} starts from")
def measure_reference(recipe: Preference, data: DataRef) -> Scores:
    """The reference on the same rows; what was measured before is read."""
    return candidate.measure_reference(recipe, data=data, settings=load_settings())


@step(**_CACHED, cache_key_fn=policies.registering_key, task_run_name="register {recipe.name}")
def register(
    recipe: Pretrain | Preference | Finetune,
    data: DataRef,
    run: TrainingRun,
    scores: Scores | None = None,
    baseline: Scores | None = None,
    reference: Scores | None = None,
    search: Found | None = None,
) -> ModelRef:
    """A version in the registry, with card, scores, lock and lineage."""
    scored = {"scores": scores, "baseline": baseline, "reference": reference}
    model = candidate.register(recipe, run=run, data=data, settings=load_settings(), search=search, **scored)
    return shown.registered(model)


@step(**_TRIED, task_run_name="search {search.name}")
def search(search: Search, recipe: Finetune, data: DataRef) -> Found:
    """The recipe with the fields that lose least; trials that were finished before are not run again."""
    found = searching.search(search, recipe, data=data, settings=load_settings(), watch=shown.line)
    return shown.searched(found)


@step(**_TRIED, task_run_name="keep the search")
def keep_search(found: Found, model: ModelRef) -> None:
    """All trials, beside the version that came of them."""
    registry = Registry(addresses(load_settings()).mlflow)
    registry.run(model.run_id).text(found.path.read_text("utf-8"), searching.REPORT)


@step(**_CACHED, cache_key_fn=policies.judging_key, task_run_name="gate {model.name} v{model.version}")
def judge(model: ModelRef, policy: GatePolicy, collected: Collected | None = None, task: str = "") -> Judgement:
    """Promote, reject or inconclusive; beside it, both models on the feedback that is kept aside."""
    settings, screening = load_settings(), policies.screening()
    aside = retraining.kept_aside(collected, task=task, settings=settings, policy=screening) if collected else None
    return shown.verdict(candidate.judge(model, policy=policy, settings=settings, kept_aside=aside))


@step(**_TRIED, task_run_name="gate {model.name} v{model.version} again")
def judge_again(model: ModelRef, policy: GatePolicy) -> Judgement:
    """The verdict of now, whatever was found before."""
    return shown.verdict(candidate.judge(model, policy=policy, settings=load_settings()))


@step(**_CACHED, cache_key_fn=policies.promoting_key, task_run_name="promote")
def promote(judgement: Judgement) -> None:
    """The challenger becomes champion, through the journal; a decision is carried out once."""
    candidate.promote(judgement, settings=load_settings())


@step(**_TRIED, task_run_name="promote")
def promote_again(judgement: Judgement) -> None:
    """The same for a decision of now, whoever was champion before."""
    candidate.promote(judgement, settings=load_settings(), actor="operator")


@step(**_TRIED, task_run_name="find {table}")
def find(table: str, version: int | None) -> ModelRef:
    """A registered version; by default the champion."""
    return shown.registered(candidate.find(table, version, settings=load_settings()))


@step(**_TRIED, task_run_name="measure {model.name} v{model.version}")
def evaluate_version(model: ModelRef, data: DataRef) -> dict[str, float]:
    """A registered version on the test split of the data."""
    return candidate.evaluate_version(model, data=data, settings=load_settings())


@step(**_TRIED, task_run_name="retrain {model} from its lock")
def verify(model: str, anyway: bool) -> Verification:
    """Identical, different, or not comparable on this machine."""
    settings = load_settings()
    ref = verification.find(Registry(addresses(settings).mlflow), model)
    with shown.progress(str(ref)) as watch:
        return verification.verify(ref, settings=settings, anyway=anyway, watch=watch)


# ---------------------------------------------------------------- feedback


@step(**_CACHED, cache_key_fn=policies.of_this_run, task_run_name="claim the feedback on {table}")
def claim(table: str, trigger: TriggerPolicy | None, cut: int | None, force: bool) -> Claim:
    """Counts in the ledger, and keeps others from retraining on the same."""
    return retraining.claim(
        table, trigger=trigger, cut=cut, holder=str(flow_run.id), force=force, settings=load_settings()
    )


# Without a cache, as every run of the process is to hold it: a claim is given back when the run fails.
@step(**_TRIED, cache_policy=NO_CACHE, task_run_name="hold the claim on {table}")
def hold(table: str, claimed: Claim) -> Claim:
    """The claim, if it is still ours or free: tried again by somebody, or taken up after the machine was off."""
    return retraining.hold(table, claimed=claimed, holder=str(flow_run.id), settings=load_settings())


@step(**_CACHED, cache_key_fn=policies.of_this_run, task_run_name="collect the feedback on {table}")
def collect(table: str, cut: int | None, recipe: Finetune, may_be_empty: bool = False) -> Collected:
    """Screened, admitted rows as a data version; refused ones with their reason."""
    settings, policy = load_settings(), policies.screening()
    found = retraining.collect(
        table, cut=cut, task=recipe.task, settings=settings, policy=policy, may_be_empty=may_be_empty
    )
    return shown.collected(found)


@step(**_CACHED, cache_key_fn=policies.of_this_run, task_run_name="what is preferred on {recipe.table}")
def prefer(recipe: Preference, data: DataRef) -> Preference:
    """The recipe with its base's version and its rows' hash: taken up again, a run learns from what it learnt from."""
    return retraining.prefer(recipe, data=data, settings=load_settings(), policy=policies.screening())


@step(**_TRIED, task_run_name="tell what became of the feedback")
def tell(collected: Collected, model: ModelRef, recipe: Finetune) -> dict[str, Any]:
    """The fates `trained` and `measured`."""
    return retraining.tell(collected, model=model, recipe=recipe, settings=load_settings())


@step(**_TRIED, task_run_name="tell whose preferences these were")
def tell_preferred(recipe: Preference, data: DataRef, model: ModelRef) -> int:
    """The fates `trained` and `measured` of the feedback that was learnt from."""
    return retraining.tell_preferred(recipe, data=data, model=model, settings=load_settings())


@step(**_TRIED, cache_policy=NO_CACHE, task_run_name="close the cut")
def consume(collected: Collected, judgement: Judgement | None) -> None:
    """What lay below the cut has had its verdict; the next retraining may begin."""
    retraining.consume(collected, judgement=judgement, holder=str(flow_run.id), settings=load_settings())


@step(**_CACHED, cache_key_fn=policies.of_this_run, task_run_name="where {table} is retrained")
def hand_over(table: str, recipe: Finetune, given: dict[str, Any]) -> str | None:
    """The run in another pool that does this retraining instead, where its recipe needs one; None: it goes on here."""
    settings, ours = load_settings(), str(flow_run.id)
    if placed.name != "cpu":
        return None
    pool, why = places.place_of(recipe, settings=settings)
    if why:
        shown.line(why)
    if pool == "cpu":
        return None
    newest = versioning.head(settings)
    given = given | {"data": newest and newest.model_dump(mode="json")}
    theirs = waiting.start(f"retrain/{pool}", given, key=ours)
    retraining.pass_on(table, holder=ours, to=theirs, settings=settings)
    return theirs


@step(**_TRIED, task_run_name="recipe of {table}")
def recipe_of(table: str, recipe: Finetune | None) -> Finetune:
    """What was asked for, or the champion's own recipe."""
    return recipe or candidate.recipe_of(table, settings=load_settings())


@step(**policies.KEPT, cache_key_fn=policies.rating_key, task_run_name="scripted rater on {recipe.table}")
def rate(recipe: Rater) -> RaterReport:
    """Replays held-back rows through the gateway; a script, never a person."""
    settings = load_settings()
    with shown.timed("rate"), shown.counted(f"rate {recipe.table}") as progress:
        return rater.rate(recipe, settings=settings, gateway_url=addresses(settings).gateway, progress=progress)


@step(**_TRIED, cache_policy=NO_CACHE, task_run_name="tables with a champion")
def tables_with_champion() -> list[str]:
    """All of them, by name."""
    return candidate.tables_with_champion(settings=load_settings())


@step(**_CACHED, cache_key_fn=policies.of_this_run, task_run_name="ask for {table}")
def ask(table: str, trigger: TriggerPolicy) -> str:
    """A retraining that looks whether it is to begin; its run's id."""
    given = {"table": table, "trigger": trigger}
    return waiting.start("retrain/cpu", given, key=f"{flow_run.id}:{table}")


# ---------------------------------------------------------------- the loop


@step(task_run_name="fetch what is needed")
def fetch(names: list[str], bases: list[str]) -> None:
    """Assets that are not here yet, downloaded and verified; base weights made ready."""
    with shown.timed("fetch"):
        for name in names:
            assets.fetch(name, settings=load_settings())
        for base in bases:
            assets.weights(base, settings=load_settings())


@step(task_run_name="{name}")
def stage(name: str, deployment: str, parameters: dict[str, Any]) -> DataRef | ModelRef:
    """A deployment, run on the worker as a part of this run; what has nothing to do is not started."""
    before: DataRef | ModelRef | None = waiting.made_before(name, deployment, parameters, settings=load_settings())
    if before is not None:
        return before
    made: DataRef | ModelRef = waiting.stage(name, deployment, parameters, settings=load_settings())
    return made


# Without a cache: with Prefect's own policy the second wait of a run would be answered by the first.
@step(**_TRIED, cache_policy=NO_CACHE, task_run_name="wait for the gateway: {table}")
def await_champion(table: str) -> None:
    """Until the gateway answers with the champion of now."""
    waiting.champion(table, settings=load_settings())


@step(task_run_name="wait for the retraining that starts by itself: {table}")
def await_retraining(table: str) -> None:
    """Until the feedback has been used by a retraining that Prefect started."""
    with shown.timed("retrain"):
        waiting.retraining(table, policies.trigger(), settings=load_settings())


@step(**_TRIED, task_run_name="plan the control")
def control_of(recipe: Finetune) -> tuple[Finetune, DataRef] | None:
    """The same training on as many random labelled rows."""
    return retraining.control_of(recipe, settings=load_settings())
