"""Where a fine-tuning starts: a pinned asset's weights, a language model of this installation, or fresh ones."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from components import assets
from components.data import tables
from components.errors import RecipeError
from components.recipes import Finetune, Preference
from components.refs import ModelRef
from components.settings import Settings
from components.tasks import get_task
from components.tasks.base import column_type


def weights(recipe: Finetune, *, data_dir: Path, settings: Settings) -> Path:
    """The folder of the recipe's `base`, in the Hub's format; the same recipe on the same table gives the same bits.

    Raises:
        AssetError: the asset cannot be had.
        VersionNotFound, RegistryError: there is no such version, or its files were changed.
        RegistryUnavailable: MLflow does not answer.
        RecipeError: the version is no language model, or a fresh family cannot do the task.
        MappingError, DataError: of a fresh base: the table is not there, or has no rows.
    """
    if recipe.fresh is not None:
        return _fresh(recipe, data_dir=data_dir, settings=settings)
    name, version = recipe.own_base
    if not version:
        return assets.weights(recipe.base, settings=settings)
    from components.registry import Registry
    from components.supervisor import addresses

    registry = Registry(addresses(settings).mlflow)
    ref: ModelRef = registry.ref(name, version)
    task = registry.get(ref).task
    if task != "corpus" and not (isinstance(recipe, Preference) and task == recipe.task):
        raise RecipeError(
            f"{recipe.name}: base: {ref} is a model of task {task}, not a language model", "name a pretrained one"
        )
    return registry.fetch(ref, settings)


def _fresh(recipe: Finetune, *, data_dir: Path, settings: Settings) -> Path:
    from components.models import fresh
    from components.training.finetuning import training_rows
    from components.training.lock import code_sha256

    assert recipe.fresh is not None
    fresh.check(recipe, get_task(recipe.task).head)
    made_of = (
        *(recipe.fresh.sha256(), recipe.seed, recipe.max_length_tokens, recipe.max_new_tokens),
        *(sorted(recipe.splits.items()), tables.table_sha256(data_dir, recipe.table), code_sha256(fresh.__name__)),
    )
    folder = settings.workspace.root / "bases" / hashlib.sha256(repr(made_of).encode()).hexdigest()[:24]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    columns = [column for column in get_task(recipe.task).columns[:2] if _is_text(recipe.task, column)]
    rows = training_rows(recipe, data_dir=data_dir)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fresh-") as scratch:
        made = fresh.make(recipe, (text for column in columns for text in rows[column]), Path(scratch) / "base")
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was first: its is the same
                raise
            shutil.rmtree(made)
    return folder


def _is_text(task: str, column: str) -> bool:
    return column_type(get_task(task), column) in ("line", "lines")
