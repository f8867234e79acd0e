"""What the gate is shown beside two models' scores: the test rows' slices, other seeds, typing errors, the clock."""

from typing import TYPE_CHECKING

from components.data import versioning
from components.evaluation import robustness
from components.evaluation.evaluate import test_rows
from components.evaluation.gate import differences
from components.evaluation.robustness import Probe
from components.evaluation.seeds import SeedSpread, seed_spread
from components.recipes import Finetune, GatePolicy
from components.refs import ModelRef
from components.registry import Registry, VersionInfo
from components.settings import Settings
from components.tasks import get_task

if TYPE_CHECKING:
    import pandas as pd


def rows_answered(info: VersionInfo, recipe: Finetune, *, settings: Settings) -> "pd.DataFrame":
    """The test rows that a registered version was measured on.

    Raises:
        DataError: there are none.
    """
    data = versioning.manifest(info.data_version, settings=settings).ref
    data_dir = versioning.path_of(data, settings)
    return test_rows(data_dir=data_dir, table=recipe.table, split="test", max_rows=recipe.max_test_rows)


def over_seeds(
    info: VersionInfo,
    recipe: Finetune,
    champion: "pd.DataFrame",
    *,
    registry: Registry,
    policy: GatePolicy,
    recipes: "dict[int, Finetune]",
) -> SeedSpread | None:
    """What the registered trainings that differ from this one in their seed alone make of the same test rows.

    Args:
        champion: per-example scores that all are compared with.
        recipes: version → recipe, of the model's other versions.
    """
    alike = recipe.model_copy(update={"seed": 0, "name": ""})
    found = []
    for one in registry.versions(info.ref.name):
        other = recipes.get(one.ref.version)
        if one.ref == info.ref or (
            other
            and one.data_version == info.data_version
            and other.seed != recipe.seed
            and other.model_copy(update={"seed": 0, "name": ""}) == alike
        ):
            scores = registry.per_example(one.ref)
            if set(scores["id"]) == set(champion["id"]):
                found.append(differences(scores, champion))
    return seed_spread(found, confidence_level=policy.confidence_level)


def probed(
    challenger: ModelRef,
    champion: ModelRef | None,
    rows: "pd.DataFrame",
    *,
    task: str,
    registry: Registry,
    policy: GatePolicy,
    settings: Settings,
) -> Probe | None:
    """Both models asked again on the first `typo_rows` rows; None where the policy asks for none.

    Generated answers take seconds each and a misspelt prompt has no one right answer: only classifiers are probed.
    """
    language_task = get_task(task)
    if not policy.typo_rows or language_task.head != "classifier":
        return None
    few = rows.head(policy.typo_rows).reset_index(drop=True)

    def asked(model: ModelRef) -> robustness.Asked:
        own = get_task(registry.get(model).task)  # the champion may be prompted
        say = robustness.model_in(registry.fetch(model, settings), task=own)
        return robustness.ask(say, few, task=own, seed=policy.seed)

    return Probe(
        num_examples=len(few),
        typo_share=robustness.TYPO_SHARE,
        challenger=asked(challenger),
        champion=asked(champion) if champion else None,
    )
