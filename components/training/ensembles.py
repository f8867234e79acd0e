"""Several trainings of one recipe, put together as one model: their mean weights, or their votes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import RecipeError
from components.models import pretrained
from components.recipes import Finetune, Pretrain
from components.tasks import get_task
from components.tasks.base import Task, column_type
from components.training import result
from components.training.lock import Lock
from components.training.loop import Fitted
from components.training.result import Progress, Trained
from components.training.seeds import derive

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel


def check(recipe: Finetune, task: Task) -> None:
    """Raise RecipeError where the task's answers cannot be voted on."""
    if (
        recipe.ensemble
        and recipe.ensemble.method == "vote"
        and (task.head != "classifier" or column_type(task, task.columns[1]) != "label")
    ):
        raise RecipeError(
            f"{recipe.name}: ensemble.method vote: {task.name} has no labels to vote for", "take average_weights"
        )


def first_member(recipe: Pretrain | Finetune) -> tuple[Pretrain | Finetune, int]:
    """The recipe of one of the trainings that a recipe asks for, and how many these are; they differ in the seed alone.

    Raises:
        RecipeError: as `check`.
    """
    if not isinstance(recipe, Finetune) or recipe.ensemble is None:
        return recipe, 1
    check(recipe, get_task(recipe.task))
    return recipe.model_copy(update={"ensemble": None}), recipe.ensemble.members


def train_members(
    recipe: Finetune,
    *,
    train: Callable[..., Trained],
    task: Task,
    lock: Lock,
    run_dir: Path,
    on_step: Callable[[Progress], None] | None,
    held_out: "pd.DataFrame",
) -> Trained:
    """Train the members one after another, each from a seed of its own, and put them together in `run_dir/model`.

    `average_weights` (Wortsman et al. 2022, arXiv 2203.05482) is of trainings that begin with the same weights, a new
    head included, and differ in the order of rows and in dropout; `vote` is of trainings that differ in these, too.
    Killed, it goes on with the member that it was at.

    Args:
        train: trains one member: a recipe, its folder, whom to tell of steps, and the seed of new weights.
        held_out: the rows that no member is trained on; what is chosen on them is chosen anew, of all together.
    """
    import transformers

    assert recipe.ensemble is not None
    shared = recipe.ensemble.method == "average_weights"
    done: list[Trained] = []
    for number in range(recipe.ensemble.members):
        seed = derive(recipe.seed, "member", number) >> 32
        member = recipe.model_copy(update={"ensemble": None, "seed": seed})

        def told(progress: Progress, before: int = number) -> None:
            if on_step:
                on_step(_among(progress, before, recipe.ensemble.members))  # type: ignore[union-attr]

        folder = run_dir / f"member-{number}"
        done.append(train(member, run_dir=folder, on_step=told, new_weights_seed=recipe.seed if shared else seed))
    models = [pretrained.load_trained(one.model_dir, task=task)[0] for one in done]
    tokenizer = transformers.AutoTokenizer.from_pretrained(done[0].model_dir, local_files_only=True)
    if shared:
        model = averaged(models)
        if len(held_out):  # its configuration is the first member's, whose probabilities are others
            task.settle(model, tokenizer, held_out)
    else:
        from components.models.voting import voting

        model = voting(models)
    fitted = Fitted(
        num_steps=sum(one.num_steps for one in done),
        resumed_from=0,
        seconds=sum(one.seconds for one in done),
        last_loss=sum(one.metrics["train_loss"] for one in done) / len(done),
        losses=tuple(loss for one in done for loss in one.losses),
        division={f"member-{n}, {at}": parts for n, one in enumerate(done) for at, parts in one.lock.division.items()},
        num_tokens=sum(one.num_tokens for one in done),
        flops=sum(one.flops for one in done),
        flops_per_second=sum(one.flops_per_second for one in done) / len(done),
    )
    metrics = {name: sum(one.metrics[name] for one in done) / len(done) for name in done[0].metrics}
    return result.save(run_dir, model, tokenizer, lock=lock, fitted=fitted, metrics=metrics)


def averaged(models: "Sequence[PreTrainedModel]") -> "PreTrainedModel":
    """The first model with the mean of all their weights, summed in fp32 in their order."""
    import torch

    first, others = models[0], [dict(model.named_parameters()) for model in models[1:]]
    with torch.no_grad():
        for name, p in first.named_parameters():
            total = p.float()
            for other in others:
                total = total + other[name].float()
            p.copy_(total / len(models))
    return first


def _among(progress: Progress, before: int, members: int) -> Progress:
    """A member's step as one of all members'."""
    a_step = progress.remaining_seconds / max(1, progress.num_steps - progress.step)
    left = (members - before - 1) * progress.num_steps * a_step
    return replace(
        progress,
        step=before * progress.num_steps + progress.step,
        num_steps=members * progress.num_steps,
        remaining_seconds=progress.remaining_seconds + left,
    )
