"""From a finished training to a champion: measured, registered, judged by the gate, promoted."""

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from components.data import packing, versioning
from components.data.packed_versions import located
from components.data.tables import table_info
from components.errors import RegistryError, VersionNotFound
from components.evaluation import admission, evidence, feedback_test, gate, slices, spending
from components.evaluation.card import card_of
from components.evaluation.cost import cost_pair
from components.evaluation.gate import Verdict
from components.evaluation.parity import PARITY_TAG
from components.evaluation.scores import Scores
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.recipes import Finetune, GatePolicy, Preference, Pretrain, parse_recipe
from components.refs import DataRef, ModelRef
from components.registry import Registry, VersionInfo, model_name
from components.settings import Settings
from components.supervisor import addresses
from components.tasks import get_task
from components.training import bases
from components.training.lock import code_sha256, weights_sha256
from components.training.run import TrainingRun

if TYPE_CHECKING:
    import pandas as pd

    from components.training.search import Found

log = logging.getLogger(__name__)

RECIPE_TAG = "banyan.recipe"


class Judgement(BaseModel):
    """The gate's verdict on a challenger, and whom it was compared with."""

    model_config = ConfigDict(frozen=True)

    challenger: ModelRef
    champion: ModelRef | None
    """None: there was none, and it was compared with the plain baseline."""
    verdict: Verdict


# ---------------------------------------------------------------- measuring


def measure(recipe: Finetune, *, run: TrainingRun, data: DataRef, settings: Settings) -> Scores:
    """The trained model on the test split; what was measured before is read.

    Raises:
        DataError: the split is empty.
    """
    from components.evaluation.evaluate import evaluate

    path = scores_path(recipe, run=run, data=data)
    if not path.is_file():
        rows = evaluate(
            run.model_dir,
            task=recipe.task,
            data_dir=versioning.path_of(data, settings),
            table=recipe.table,
            max_rows=recipe.max_test_rows,
        )
        _keep(rows, path)
    return _scores(path, task=recipe.task)


def measure_baseline(recipe: Finetune, *, data: DataRef, settings: Settings) -> Scores:
    """The task's plain baseline, fitted on the recipe's rows, on the same test split.

    Raises:
        DataError: the split is empty, or there is nothing to fit on.
    """
    from components.evaluation.evaluate import evaluate_baseline

    path = baseline_path(recipe, data=data, settings=settings)
    if not path.is_file():
        _keep(evaluate_baseline(recipe, data_dir=versioning.path_of(data, settings)), path)
    return _scores(path, task=recipe.task)


def measure_reference(recipe: Preference, *, data: DataRef, settings: Settings) -> Scores:
    """What a training by preference starts from, on the same test split.

    Raises:
        DataError: the split is empty.
        AssetError, RegistryUnavailable: the weights cannot be had.
    """
    from components.evaluation.evaluate import evaluate_reference

    data_dir = versioning.path_of(data, settings)
    weights_dir = bases.weights(recipe, data_dir=data_dir, settings=settings)
    name = _name(
        *(weights_sha256(weights_dir), data.tables[recipe.table], recipe.max_test_rows),
        *(recipe.max_new_tokens, recipe.max_length_tokens, recipe.adaptation, recipe.precision),
    )
    path = settings.workspace.runs / "baselines" / f"{recipe.table}-reference-{name}.parquet"
    if not path.is_file():
        _keep(evaluate_reference(recipe, weights_dir=weights_dir, data_dir=data_dir), path)
    return _scores(path, task=recipe.task)


def scores_path(recipe: Finetune, *, run: TrainingRun, data: DataRef) -> Path:
    """Where the scores of that model on that table by this code lie, once they are measured."""
    return run.run_dir / f"test-{_name(run.weights_sha256, data.tables[recipe.table], recipe.max_test_rows)}.parquet"


def baseline_path(recipe: Finetune, *, data: DataRef, settings: Settings) -> Path:
    """The same of the baseline."""
    name = _name(recipe.sha256(), data.tables[recipe.table])
    return settings.workspace.runs / "baselines" / f"{recipe.table}-{name}.parquet"


def _name(*parts: object) -> str:
    code = code_sha256("components.evaluation.evaluate,components.evaluation.metrics")
    return hashlib.sha256(repr((code, *parts)).encode()).hexdigest()[:24]


def _keep(rows: "pd.DataFrame", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    rows.to_parquet(beside, index=False)
    beside.replace(path)


def _scores(path: Path, *, task: str) -> Scores:
    import pandas as pd

    from components.evaluation.metrics import summarise

    scores = Scores(path=path, metrics=summarise(pd.read_parquet(path), get_task(task)))
    log.info("%s", ", ".join(f"{name} {value:.3f}" for name, value in scores.metrics.items()))
    return scores


# ---------------------------------------------------------------- registering


def register(
    recipe: Pretrain | Finetune,
    *,
    run: TrainingRun,
    data: DataRef,
    settings: Settings,
    scores: Scores | None = None,
    baseline: Scores | None = None,
    reference: Scores | None = None,
    search: "Found | None" = None,
) -> ModelRef:
    """A version in the registry with everything that made it; the same lock gives the version that there is.

    Before that what serves it is held against what trained it (see `evaluation.admission`).

    Args:
        reference: of a training by preference, what it started from.
        search: what found the recipe's fields; its trials stand on the card.

    Raises:
        ParityMismatch: it answers otherwise than it was trained.
        RegistryUnavailable: MLflow does not answer.
    """
    registry = Registry(addresses(settings).mlflow)
    manifest = versioning.manifest(data.version, settings=settings)
    packed = located(recipe, data=data, settings=settings).packed if isinstance(recipe, Pretrain) else None
    info = packing.as_table(packed) if packed else table_info(versioning.path_of(data, settings), recipe.table)
    task = recipe.task if isinstance(recipe, Finetune) else "corpus"
    metrics = run.metrics | (scores.metrics if scores else {})
    metrics |= {f"baseline_{name}": value for name, value in (baseline.metrics if baseline else {}).items()}
    metrics |= {f"reference_{name}": value for name, value in (reference.metrics if reference else {}).items()}
    admitted = None
    if isinstance(recipe, Finetune) and not registry.find(str(run.lock["key"]), name=run.model):
        admitted = admission.admit(recipe, run=run, data=data, settings=settings)
        registry.run(run.run_id).text(admitted.model_dump_json(), admission.PARITY_FILE)
    ref = registry.register(
        run.model,
        model_dir=run.model_dir,
        task=task,
        lock=run.lock,
        data=data,
        metrics=metrics,
        card=card_of(
            recipe,
            run=run,
            manifest=manifest,
            info=info,
            scores=scores,
            baseline=baseline,
            reference=reference,
            parity=admitted.engines if admitted else None,
            packed=packing.read_info(packed) if packed else None,
            search=search,
        ),
        example=get_task(task).example if isinstance(recipe, Finetune) else recipe.sample_prompt,
        per_example=scores.rows() if scores else None,
        baseline=baseline.rows() if baseline else None,
        tags={
            "banyan.role": recipe.role if isinstance(recipe, Finetune) else "candidate",
            RECIPE_TAG: recipe.model_dump_json(),
        }
        | ({PARITY_TAG: admitted.tag} if admitted else {}),
        run_id=run.run_id,
        weights_sha256=run.weights_sha256,
        num_steps=run.num_steps,
    )
    mlflow_run = registry.run(run.run_id)
    mlflow_run.text(manifest.pointer, "data.dvc")
    mlflow_run.text(manifest.model_dump_json(indent=1), "data.json")
    mlflow_run.tag(**{"banyan.validation_report": manifest.docs, "banyan.version": str(ref.version)})
    mlflow_run.end()
    log.info("registered %s, weights %s", ref, ref.weights_sha256[:12])
    return ref


def recipe_of(table: str, *, settings: Settings) -> Finetune:
    """The recipe of the table's champion, or of its newest version: what a retraining trains by.

    One of a training by preference is passed over: it learns nothing from rows with one right answer.

    Raises:
        VersionNotFound: no model was ever fine-tuned on the table.
    """
    registry = Registry(addresses(settings).mlflow)
    known = [one for one in registry.versions(model_name(table)) if _is_candidate(one)]
    found = [one for one in known if not isinstance(_recipe(one), Preference)]
    if not found:
        raise VersionNotFound(f"no model was trained on {table!r}", f"train one: banyan train RECIPE --table {table}")
    chosen = next((one for one in found if "champion" in one.aliases), found[0])
    return _recipe(chosen)


def tables_with_champion(*, settings: Settings) -> list[str]:
    """Tables whose model has passed the gate, by name.

    Raises:
        RegistryUnavailable: MLflow does not answer.
    """
    names = Registry(addresses(settings).mlflow).champions()
    return [name.removeprefix(model_name("")) for name in names if name.startswith(model_name(""))]


def find(table: str, version: int | None, *, settings: Settings) -> ModelRef:
    """A version of the table's model; by default the champion.

    Raises:
        VersionNotFound: there is no such version, or no champion.
    """
    registry = Registry(addresses(settings).mlflow)
    if version is not None:
        return registry.ref(model_name(table), version)
    champion = registry.champion(model_name(table))
    if champion is None:
        raise VersionNotFound(f"{model_name(table)} has no champion", "name a version: --version N")
    return champion


def _recipe(info: VersionInfo) -> Finetune:
    recipe: Finetune = parse_recipe(json.loads(info.tags[RECIPE_TAG]), origin=f"the recipe of {info.ref}")
    return recipe


# ---------------------------------------------------------------- judging


def judge(
    challenger: ModelRef, *, policy: GatePolicy, settings: Settings, kept_aside: "pd.DataFrame | None" = None
) -> Judgement:
    """The gate's verdict on a version: against the champion, or against the plain baseline where there is none.

    Both answer the challenger's test split; a champion that was measured on another one is measured again. The
    verdict is kept in the ledger, and counts among the looks at that split unless the version is a control, which
    cannot be promoted.

    Args:
        kept_aside: feedback that no training sees (`Curated.kept_aside`): both answer it, and the verdict is not moved.

    Raises:
        VersionNotFound: the version has no scores.
        DataError: what is compared does not pair.
    """
    registry = Registry(addresses(settings).mlflow)
    info = registry.get(challenger)
    mine = registry.per_example(challenger)
    champion = registry.champion(challenger.name)
    if champion is not None and champion.version != challenger.version:
        theirs = registry.per_example(champion)
        if set(theirs["id"]) != set(mine["id"]):
            log.info("%s was measured on other rows: measuring it on those of %s", champion, challenger)
            theirs = measure_again(champion, on=info, settings=settings)
    else:
        champion, theirs = None, registry.baseline(challenger)
    recipe, is_control = _recipe(info), info.role == "control"
    rows = evidence.rows_answered(info, recipe, settings=settings)
    others = {one.ref.version: _recipe(one) for one in registry.versions(challenger.name) if _is_candidate(one)}
    if champion is not None:
        others.pop(champion.version, None)  # its difference to itself says nothing of seeds
    seeds = evidence.over_seeds(info, recipe, theirs, recipes=others, registry=registry, policy=policy)
    probe = evidence.probed(
        challenger, champion, rows, task=info.task, registry=registry, policy=policy, settings=settings
    )
    on_feedback = None
    if kept_aside is not None:
        few = kept_aside if recipe.max_test_rows is None else kept_aside.head(recipe.max_test_rows)
        on_feedback = feedback_test.on_feedback(challenger, few, task=info.task, registry=registry, settings=settings)
    test_set = spending.set_name(mine["id"])
    with Ledger(settings) as ledger:
        cost = cost_pair(
            challenger,
            champion,
            rows,
            registry=registry,
            ledger=ledger,
            policy=policy,
            settings=settings,
            probe=probe,
        )
        look = None if is_control else _look(ledger, challenger, champion, test_set=test_set, policy=policy)
        groups = slices.groups(rows, policy)
        verdict = gate.compare(mine, theirs, policy, look=look, groups=groups, seeds=seeds, probe=probe)
        verdict = verdict.model_copy(update={"cost": cost, "feedback": on_feedback})
        ledger.record_verdict(
            challenger,
            verdict,
            champion=champion,
            metric=get_task(info.task).metric_name,
            data_version=info.data_version,
            test_set="" if is_control else test_set,
            evidence=verdict.model_dump(mode="json", exclude={"policy"}),
        )
    log.info("%s against %s: %s, %s", challenger, champion or "the baseline", verdict.verdict, verdict.reason)
    return Judgement(challenger=challenger, champion=champion, verdict=verdict)


def _look(
    ledger: Ledger, challenger: ModelRef, champion: ModelRef | None, *, test_set: str, policy: GatePolicy
) -> spending.Look:
    """Where the comparison stands among those that this test set has decided; asked again, it stands where it stood."""
    promoted = []
    for row in ledger.looks(challenger.name, test_set):
        if (row.model_version, row.against_version) == (challenger.version, champion.version if champion else 0):
            break
        promoted.append(row.verdict == "promote")
    return spending.look(promoted, policy, test_set=test_set)


def _is_candidate(info: VersionInfo) -> bool:
    return info.role != "control" and RECIPE_TAG in info.tags


def measure_again(model: ModelRef, *, on: VersionInfo, settings: Settings) -> "pd.DataFrame":
    """A registered version on the test rows of another one's data version, row by row, asked in its own way."""
    from components.evaluation.evaluate import evaluate

    registry, recipe = Registry(addresses(settings).mlflow), _recipe(on)
    data = versioning.manifest(on.data_version, settings=settings).ref
    return evaluate(
        registry.fetch(model, settings),
        task=registry.get(model).task,  # one table may have models of a head's and of a prompt's task
        data_dir=versioning.path_of(data, settings),
        table=recipe.table,
        max_rows=recipe.max_test_rows,
    )


def evaluate_version(model: ModelRef, *, data: DataRef, settings: Settings) -> dict[str, float]:
    """A registered version measured on the test split of `data`; the figures are added to its run in MLflow."""
    from components.evaluation.evaluate import evaluate
    from components.evaluation.metrics import summarise

    registry = Registry(addresses(settings).mlflow)
    recipe = _recipe(registry.get(model))
    rows = evaluate(
        registry.fetch(model, settings),
        task=recipe.task,
        data_dir=versioning.path_of(data, settings),
        table=recipe.table,
        max_rows=recipe.max_test_rows,
    )
    metrics = summarise(rows, get_task(recipe.task))
    run = registry.run(model.run_id)
    run.log({f"again_{name}": value for name, value in metrics.items()})
    run.flush()
    log.info("%s on data %s: %s", model, data.version[:8], metrics)
    return metrics


def promote(judgement: Judgement, *, settings: Settings, actor: str = "gate") -> None:
    """Makes the challenger champion, through the journal, with the verdict as evidence.

    Raises:
        RegistryError: the gate did not say promote, the champion has changed since it compared, or it is a control.
    """
    to, verdict = judgement.challenger, judgement.verdict
    if verdict.verdict != "promote":
        raise RegistryError(f"{to} was not found better: {verdict.reason}", "train a better one, or gather more data")
    registry = Registry(addresses(settings).mlflow)
    if registry.get(to).role == "control":
        raise RegistryError(f"{to} is a control: it was trained for comparison, and its look was not counted")
    now = registry.champion(to.name)
    if now not in (judgement.champion, to):
        raise RegistryError(f"{now} became champion while {to} was judged", f"judge it again: banyan promote {to.name}")
    found: dict[str, Any] = verdict.model_dump(mode="json")
    with Ledger(settings) as ledger:
        Journal(ledger, settings.workspace).move(registry, to, actor=actor, evidence=found)
    log.info("%s is champion", to)
