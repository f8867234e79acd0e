"""Fine-tuning: pretrained weights, one task, one table."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data import tables
from components.errors import DataError, MappingError, RecipeError
from components.models import pretrained
from components.recipes import Finetune
from components.tasks import get_task
from components.tasks.base import Example, Task, column_type
from components.training import distributed, ensembles, losses, memory, result
from components.training import lock as locks
from components.training.distributed import ALONE, World
from components.training.loop import Batch, fit
from components.training.result import Evaluation, Progress, Trained
from components.training.seeds import RowOrder, derive

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel


def take_lock(recipe: Finetune, *, data_dir: Path, weights_dir: Path, parallel: str = "") -> locks.Lock:
    """The lock of a fine-tuning that has not begun: its `key` names the run's folder and finds it in the registry."""
    return locks.take(
        recipe,
        tables={recipe.table: tables.table_sha256(data_dir, recipe.table)},
        module=",".join(
            [__name__, type(get_task(recipe.task)).__module__, *["components.models.fresh"] * bool(recipe.fresh)]
        ),
        parent=locks.weights_sha256(weights_dir),
        parallel=parallel,
    )


def finetune(
    recipe: Finetune,
    *,
    data_dir: Path,
    weights_dir: Path,
    run_dir: Path,
    on_step: Callable[[Progress], None] | None = None,
    on_evaluate: Callable[[Evaluation], None] | None = None,
    world: World = ALONE,
) -> Trained:
    """Train `recipe.base`'s weights on the recipe's splits; the model is `run_dir/model`, a Hugging Face folder.

    Called again after a kill, it goes on at the last checkpoint in `run_dir`; called again when done, it returns
    what is there.

    Args:
        data_dir: a data version's folder.
        weights_dir: the base, a Hugging Face folder.
        world: the workers that train together; each calls this, and they see the same files.

    Raises:
        RecipeError: the recipe does not fit its task, or the workers.
        MappingError: the table is not there, or is another task's.
        DataError: no rows to train on.
        NonFiniteLoss, CheckpointError: as `loop.fit`.
    """
    task = get_task(recipe.task)
    task.check(recipe)
    ensembles.check(recipe, task)
    if recipe.class_weights and (task.head != "classifier" or column_type(task, task.columns[1]) != "label"):
        raise RecipeError(f"{recipe.name}: class_weights: {task.name} has no one label a text", "leave it out")
    distributed.check(recipe, world)
    info = tables.table_info(data_dir, recipe.table)
    if info.task != (task.tables or task.name):
        raise MappingError(
            f"table {recipe.table!r} is of task {info.task}, not {task.name}", "change the recipe's task"
        )
    lock = take_lock(recipe, data_dir=data_dir, weights_dir=weights_dir, parallel=world.name)
    distributed.agree(world, "lock", lock.exact_key)
    if done := result.load(run_dir, lock):
        return done
    one = partial(
        _train,
        rows_of=recipe,
        data_dir=data_dir,
        weights_dir=weights_dir,
        lock=lock,
        on_evaluate=on_evaluate,
        world=world,
    )
    if recipe.ensemble:
        return ensembles.train_members(
            recipe,
            train=one,
            task=task,
            lock=lock,
            run_dir=run_dir,
            on_step=on_step,
            held_out=split_off(training_rows(recipe, data_dir=data_dir), recipe)[1],
        )
    return one(recipe, run_dir=run_dir, on_step=on_step)


def _train(
    recipe: Finetune,
    *,
    rows_of: Finetune,
    data_dir: Path,
    weights_dir: Path,
    run_dir: Path,
    lock: locks.Lock,
    on_step: Callable[[Progress], None] | None,
    on_evaluate: Callable[[Evaluation], None] | None,
    world: World,
    new_weights_seed: int | None = None,
) -> Trained:
    """One training. A member of an ensemble has a seed of its own, and the rows of the whole."""
    if done := result.load(run_dir, lock):
        return done
    task, info = get_task(recipe.task), tables.table_info(data_dir, recipe.table)
    train, held_out = split_off(training_rows(rows_of, data_dir=data_dir), rows_of)
    if recipe.augmentation:
        train = augmented(train, rows_of, data_dir=data_dir)
    model, tokenizer = pretrained.load_base(
        weights_dir, task=task, labels=info.labels, recipe=recipe, seed=new_weights_seed
    )
    task.prepare(model, train)
    rows = task.rows(train, tokenizer, recipe, info.labels)
    pad_id: int = tokenizer.pad_token_id
    order = RowOrder(
        num_rows=len(rows), rows_per_step=recipe.batch_size * recipe.num_accumulation_steps, seed=recipe.seed
    )

    def numbers(step: int) -> list[int]:
        # shortest first: with several micro-batches most rows meet rows of their length, and little padding is computed
        return sorted(order.rows(step), key=lambda i: len(rows[i]["input_ids"]))

    def names(step: int) -> list[str]:
        if len(rows) == len(train):
            return [str(train["id"].iloc[i]) for i in numbers(step)]
        return [f"example {i}" for i in numbers(step)]  # some rows gave several, or none

    def micro_batches(step: int) -> list[Batch]:
        chosen = numbers(step)
        return [
            task.collate([rows[i] for i in chosen[start : start + recipe.batch_size]], pad_id)
            for start in range(0, len(chosen), recipe.batch_size)
        ]

    metrics: dict[str, float] = {}
    evaluate = None
    if len(held_out):
        unseen = task.rows(held_out, tokenizer, recipe, info.labels)

        def measure(parts: int) -> float:
            return _mean_loss(model, task, unseen, pad_id, recipe.batch_size, parts=parts)

        def evaluate(step: int, parts: int) -> float:
            metrics["heldout_loss"] = measure(parts)
            if on_evaluate:
                on_evaluate(Evaluation(step, dict(metrics)))
            return metrics["heldout_loss"]
    elif recipe.patience_evaluations:
        raise DataError(
            f"{recipe.name}: patience_evaluations: of {len(train)} rows none was held out",
            "raise validation_share, or leave patience_evaluations out",
        )

    whole = distributed.spread(model, recipe, world=world)
    fitted = fit(
        model,
        recipe,
        micro_batches=micro_batches,
        loss=_loss(task, recipe, rows, num_labels=len(info.labels)),
        num_steps=recipe.steps_over(len(rows)),
        folder=run_dir / "checkpoints",
        key=lock.exact_key,
        names=names,
        on_step=on_step,
        evaluate=evaluate,
        evaluate_every_steps=recipe.evaluate_every_steps,
        world=world,
        elastic_key=lock.elastic_key,
    )
    if recipe.patience_evaluations:  # the weights that are kept are not those that were looked at last
        metrics["heldout_loss"] = measure(fitted.last_parts)
    metrics |= {"train_loss": fitted.last_loss, "num_rows": float(len(rows))}
    model = whole() if recipe.keep_adapters else pretrained.merged(whole())
    if len(held_out):
        task.settle(model, tokenizer, held_out)
    base = (recipe.base, weights_dir) if recipe.keep_adapters else None
    return result.save(run_dir, model, tokenizer, lock=lock, fitted=fitted, metrics=metrics, world=world, base=base)


def _loss(task: Task, recipe: Finetune, rows: Sequence[Example], *, num_labels: int) -> Callable[..., Any]:
    import torch

    weights = None
    if recipe.class_weights:
        weights = losses.balanced(torch.tensor([row["labels"] for row in rows]), num_labels)
    elif not recipe.label_smoothing:
        return task.loss
    return losses.adjusted(task.loss, recipe, class_weights=weights)


def training_rows(recipe: Finetune, *, data_dir: Path) -> "pd.DataFrame":
    """The rows that a recipe trains on: of each split all, or so many drawn by the recipe's seed.

    Raises:
        DataError: there are none.
    """
    import pandas as pd

    frames = []
    for split, most in recipe.splits.items():
        frame = tables.read_split(data_dir, recipe.table, split)
        if most is not None and most < len(frame):
            chosen = sorted(frame["id"], key=lambda row_id: derive(recipe.seed, "chosen", row_id))[:most]
            frame = frame[frame["id"].isin(chosen)]
        frames.append(frame)
    rows = pd.concat(frames, ignore_index=True)
    if not len(rows):
        raise DataError(
            f"table {recipe.table!r} has no rows in {', '.join(recipe.splits)}", "ingest some, or name other splits"
        )
    return rows


def augmented(rows: "pd.DataFrame", recipe: Finetune, *, data_dir: Path) -> "pd.DataFrame":
    """Rows to train on with those that the recipe's augmentation makes of split `train`; no other split is touched.

    Raises:
        RecipeError: the answers of the recipe's task point into its texts, which must then stay as they are.
    """
    import pandas as pd

    from components.data.augmentation import augment

    task = get_task(recipe.task)
    if recipe.augmentation is None:
        return rows
    if task.head in {"tagger", "span"}:
        raise RecipeError(
            f"{recipe.name}: augmentation: the answers of {task.name} point into the text", "leave it out"
        )
    ids = {name: tables.read_split(data_dir, recipe.table, name)["id"] for name in tables.SPLITS}
    made = augment(
        rows[rows["id"].isin(ids.pop("train"))],
        recipe.augmentation,
        label=task.columns[1] if task.head == "classifier" else "",
        seed=recipe.seed,
        never=set(pd.concat([*ids.values(), rows["id"]])),
    )
    return pd.concat([rows, made], ignore_index=True)


def split_off(rows: "pd.DataFrame", recipe: Finetune) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Rows to train on, and the recipe's `validation_share` of them held out, by id: new rows move no old one."""
    limit = recipe.validation_share * 2**63
    out = rows["id"].map(lambda row_id: derive(recipe.seed, "held out", row_id) < limit).astype(bool)
    return rows[~out].reset_index(drop=True), rows[out].reset_index(drop=True)


def _mean_loss(
    model: "PreTrainedModel", task: Task, rows: Sequence[Example], pad_id: int, batch_size: int, *, parts: int
) -> float:
    """Nats per target; batches in so many parts, as those of the training are by now."""
    import torch

    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            for batch in memory.divide([task.collate(rows[start : start + batch_size], pad_id)], parts):
                summed, targets = task.loss(model, {name: t.to(model.device) for name, t in batch.items()})
                total, count = total + summed.item(), count + int(targets)
    return total / count
