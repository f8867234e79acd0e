"""Fine-tuning: pretrained weights, one task, one table."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from components.data import tables
from components.errors import DataError
from components.models import pretrained
from components.recipes import Finetune
from components.tasks import get_task
from components.training import lock as locks
from components.training.loop import Batch, fit
from components.training.result import Evaluation, Progress, Trained
from components.training.seeds import RowOrder, derive

if TYPE_CHECKING:
    import pandas as pd


def take_lock(recipe: Finetune, *, data_dir: Path, weights_dir: Path) -> locks.Lock:
    """The lock of a fine-tuning that has not begun: its `key` names the run's folder and finds it in the registry."""
    return locks.take(
        recipe,
        tables={recipe.table: tables.table_sha256(data_dir, recipe.table)},
        module=f"{__name__},{type(get_task(recipe.task)).__module__}",
        parent=locks.weights_sha256(weights_dir),
    )


def finetune(
    recipe: Finetune,
    *,
    data_dir: Path,
    weights_dir: Path,
    run_dir: Path,
    on_step: Callable[[Progress], None] | None = None,
    on_evaluate: Callable[[Evaluation], None] | None = None,
) -> Trained:
    """Train `recipe.base`'s weights on the recipe's splits; the model is `run_dir/model`, a Hugging Face folder.

    Called again after a kill, it goes on at the last checkpoint in `run_dir`; called again when done, it returns
    what is there.

    Args:
        data_dir: a data version's folder.
        weights_dir: the base, a Hugging Face folder.

    Raises:
        RecipeError: the recipe does not fit its task.
        DataError: no rows to train on.
        NonFiniteLoss, CheckpointError: as `loop.fit`.
    """
    raise NotImplementedError
