"""Training by preference: a model that writes, from pairs (DPO) or thumbs (KTO), in the same exact loop as every other.

By our own losses (`preference`) rather than by `trl`: its trainers are `transformers.Trainer`, which the loop is not.
The reference is the base, whose log-probabilities of every answer are computed once, before the first step; they are
constants of the training as its rows are.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import DataError, RecipeError
from components.models import pretrained
from components.tasks import get_task
from components.tasks.base import Example, Task
from components.training import lock as locks
from components.training import preference, preference_rows, result
from components.training.device import exact, resolve
from components.training.loop import Batch, fit
from components.training.recipes import Preference
from components.training.result import Progress, Trained
from components.training.seeds import RowOrder

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from transformers import PreTrainedModel


def take_lock(recipe: Preference, rows: "pd.DataFrame", *, weights_dir: Path) -> locks.Lock:
    """The lock of a training that has not begun. The table is not among what it reads.

    Raises:
        MappingError, DataError: as `preference_rows.ordered`.
    """
    text = preference_rows.as_text(rows, method=recipe.method)
    return locks.take(
        recipe,
        tables={f"{recipe.table} {recipe.method}": preference_rows.sha256_of(text)},
        module=f"{__name__},{type(get_task(recipe.task)).__module__}",
        parent=locks.weights_sha256(weights_dir),
    )


def align(
    recipe: Preference,
    rows: "pd.DataFrame",
    *,
    weights_dir: Path,
    run_dir: Path,
    on_step: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train the base in `weights_dir` on preference rows; the model is `run_dir/model`, a Hugging Face folder.

    Called again after a kill, it goes on at the last checkpoint in `run_dir`; called again when done, it returns what
    is there. Weights are a function of the rows, the recipe and the base.

    Args:
        rows: `feedback.preferences.dpo_pairs` or `kto_rows`, as the recipe's method wants them.

    Raises:
        RecipeError: the recipe's task does not write.
        MappingError: the rows lack a column.
        DataError: there are no rows, or an answer has no token.
        NonFiniteLoss, CheckpointError: as `loop.fit`.
    """
    task = get_task(recipe.task)
    task.check(recipe)
    if task.head != "generator":
        raise RecipeError(f"{recipe.name}: {task.name} does not write", "train it on corrections: kind finetune")
    rows = preference_rows.ordered(rows, method=recipe.method)
    lock = take_lock(recipe, rows, weights_dir=weights_dir)
    if done := result.load(run_dir, lock):
        return done
    model, tokenizer = pretrained.load_base(weights_dir, task=task, labels=(), recipe=recipe)
    pad_id: int = tokenizer.pad_token_id

    def examples(column: str) -> list[Example]:
        import pandas as pd

        frame = pd.DataFrame({"id": rows["id"], "text": rows["prompt"], task.columns[1]: rows[column]}, dtype="str")
        made = task.rows(frame, tokenizer, recipe, ())
        if len(made) != len(rows):
            raise DataError(f"of {len(rows)} answers {len(rows) - len(made)} have no token", "leave them out")
        return made

    # DPO: the chosen, then the rejected. KTO: the answers, then each prompt with the answer of the row before it, of
    # which z₀ is estimated (Ethayarajh et al. 2024, §4.1).
    if recipe.method == "dpo":
        sides = [examples("chosen"), examples("rejected")]
    else:
        rows = rows.assign(mismatched=rows["completion"].shift(1, fill_value=rows["completion"].iloc[-1]))
        sides = [examples("completion"), examples("mismatched")]
    reference = [_reference(model, task, side, pad_id, recipe) for side in sides]
    order = RowOrder(
        num_rows=len(rows), rows_per_step=recipe.batch_size * recipe.num_accumulation_steps, seed=recipe.seed
    )

    def micro_batches(step: int) -> list[Batch]:
        import torch

        numbers = list(order.rows(step))
        batches: list[Batch] = []
        for start in range(0, len(numbers), recipe.batch_size):
            some = numbers[start : start + recipe.batch_size]
            collated = task.collate([side[i] for i in some for side in sides], pad_id)  # (2 B, T)
            # a pair is a row, so that whoever divides a batch by its rows keeps pairs together: (B, 2, T)
            batch = {name: tensor.unflatten(0, (-1, 2)) for name, tensor in collated.items()}
            batch["reference"] = torch.stack([torch.stack([known[i] for known in reference]) for i in some])  # (B, 2)
            if recipe.method == "kto":
                batch["is_good"] = torch.tensor([bool(rows["label"].iloc[i]) for i in some])  # (B,)
            batches.append(batch)
        return batches

    good, bad = _weights(rows) if recipe.method == "kto" else (1.0, 1.0)

    def loss(model: "PreTrainedModel", batch: Batch) -> "tuple[Tensor, Tensor]":
        flat = {name: batch[name].flatten(0, 1) for name in ("input_ids", "attention_mask", "labels")}
        now = preference.answer_logprobs(model, flat).unflatten(0, (-1, 2)).unbind(1)
        then = batch["reference"].unbind(1)
        if recipe.method == "dpo":
            return preference.dpo(now[0], now[1], then[0], then[1], beta=recipe.beta)
        point = preference.reference_point(now[1], then[1])
        return preference.kto(
            now[0], then[0], batch["is_good"], point=point, beta=recipe.beta, weight_good=good, weight_bad=bad
        )

    fitted = fit(
        model,
        recipe,
        micro_batches=micro_batches,
        loss=loss,
        num_steps=recipe.steps_over(len(rows)),
        folder=run_dir / "checkpoints",
        key=lock.exact_key,
        names=lambda step: [str(rows["id"].iloc[i]) for i in order.rows(step)],
        on_step=on_step,
    )
    metrics = {"train_loss": fitted.last_loss, "num_rows": float(len(rows))}
    base = (recipe.base, weights_dir) if recipe.keep_adapters else None
    model = model if base else pretrained.merged(model)
    return result.save(run_dir, model, tokenizer, lock=lock, fitted=fitted, metrics=metrics, base=base)


def _reference(
    model: "PreTrainedModel", task: Task, side: Sequence[Example], pad_id: int, recipe: Preference
) -> "list[Tensor]":
    """log π_ref of each answer, in nats; the model as it was loaded, whose adapters change nothing yet.

    On the device and in the precision of the training: rounded otherwise than the policy, the reference would differ
    from a model that has not moved, and the first steps would learn that difference.
    """
    import torch

    known: list[Any] = []
    device, was_training = resolve(recipe.device), model.training
    model.eval().to(device)
    with exact(), torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        for start in range(0, len(side), recipe.batch_size):
            batch = task.collate(list(side[start : start + recipe.batch_size]), pad_id)
            on_device = {name: tensor.to(device) for name, tensor in batch.items()}
            known += list(preference.answer_logprobs(model, on_device).cpu())
    model.train(was_training)
    return known


def _weights(rows: "pd.DataFrame") -> tuple[float, float]:
    """λ of wanted and unwanted answers, so that both kinds weigh the same (Ethayarajh et al. 2024, §4.2)."""
    good = int(rows["label"].sum())
    bad = len(rows) - good
    if not good or not bad:
        return 1.0, 1.0
    return (1.0, good / bad) if good > bad else (bad / good, 1.0)
