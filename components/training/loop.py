"""The training loop.

A step is a function of the weights, the optimizer's state and the step's number, and of nothing else: its rows
come from (seed, step), and so does every random draw in it. So a run that was killed resumes at its last
checkpoint and ends with the same bits as one that was not.

One step's rows may come as one micro-batch or as several whose gradients add up. The loss is the sum over
all targets of the step divided by their number, so eight rows at once and eight times one row are the same step.
Micro-batches that do not fit the device's memory are divided further, and it is said.
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import NonFiniteLoss, RecipeError, TrainingError
from components.recipes import Training
from components.training import checkpoint, distributed, memory, optimizers, schedule
from components.training.device import exact, resolve
from components.training.distributed import ALONE, Together, World
from components.training.flops import flops_of, sizes_of
from components.training.result import Progress
from components.training.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Batch = Mapping[str, "Tensor"]
Loss = Callable[["PreTrainedModel", Batch], "tuple[Tensor, Tensor]"]
"""Sum of losses in nats, and the number of targets: scalars."""


@dataclass(frozen=True)
class Fitted:
    num_steps: int
    """That were made; fewer than asked for where patience ended."""
    resumed_from: int
    seconds: float
    last_loss: float
    """Nats per target, mean over the last tenth of the steps."""
    losses: tuple[float, ...]
    """Of every step, nats per target, over all attempts: what `verify` compares."""
    parallel: str | None = None
    """For the lock: how many workers made which steps."""
    division: dict[str, int] = field(default_factory=dict)
    """For the lock: from which step on micro-batches were divided, into how many parts; none where all fitted."""
    num_tokens: int = 0
    """Seen over all attempts, padding not counted."""
    flops: float = 0.0
    """Of all steps, by `flops.flops_of` over the tokens that were seen; padding computes, and does not count."""
    flops_per_second: float = 0.0
    """Of this attempt's steps alone: neither evaluations nor checkpoints are in it."""

    @property
    def last_parts(self) -> int:
        """Into how many parts the last step's micro-batches were divided."""
        return max(self.division.values(), default=1)


def fit(
    model: "PreTrainedModel",
    recipe: Training,
    *,
    micro_batches: Callable[[int], Sequence[Batch]],
    loss: Loss,
    num_steps: int,
    folder: Path,
    key: str,
    names: Callable[[int], Sequence[str]] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    evaluate: Callable[[int, int], float | None] | None = None,
    evaluate_every_steps: int | None = None,
    world: World = ALONE,
    elastic_key: str | None = None,
) -> Fitted:
    """Train `model` in place, in evaluation mode afterwards.

    Args:
        micro_batches: the batches of a step, 0 … num_steps − 1.
        loss: sum and count over a batch; they are added up over the step's micro-batches.
        folder: where checkpoints lie; the last one of `key` is resumed.
        names: what the rows of a step are called, in the order of its batches: for errors.
        evaluate: called after every `evaluate_every_steps` steps and after the last one, the model as it would be kept,
            with the number of steps done and into how many parts batches are divided by now; gives the held-out loss,
            which early stopping needs.
        world: the workers that train together, each by this call with the same arguments; a model that they shard is
            sharded already (`distributed.spread`).
        elastic_key: under which a checkpoint of another number of workers is resumed; None: none is.

    Raises:
        NonFiniteLoss: the loss or its gradient is not a number; says at which step, and which rows it had.
        CheckpointError: a checkpoint cannot be written.
        RecipeError: the model cannot do what the recipe asks for.
        TrainingError: a single row, the optimizer's state or held-out rows do not fit the device's memory.
    """
    import torch

    from components.training.averaging import Averaging, Best

    device = resolve(recipe.device)
    with memory.explained(
        f"{recipe.name}: the model", remedy="take a smaller one, or BANYAN_PARALLEL=fsdp on several GPUs"
    ):
        model.train().to(device)
    _save_activations(model, recipe)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optims = optimizers.build(model, recipe)
    mean = Averaging(trainable, recipe=recipe, num_steps=num_steps) if recipe.averaging else None
    best = Best(trainable, patience=recipe.patience_evaluations) if recipe.patience_evaluations and evaluate else None
    kept = [*optims, *filter(None, (mean, best))]
    sizes = sizes_of(model)
    first, earlier_seconds, earlier_tokens, seen_tokens, in_steps = 0, 0.0, 0, 0, 0.0
    losses: list[float] = []
    history: tuple[tuple[int, str], ...] = ()
    found = checkpoint.latest(folder, key=key, elastic_key=elastic_key) if world.is_first else None
    if found := distributed.from_first(world, found):
        checkpoint.restore(found, model=model, optimizers=kept)
        first, earlier_seconds, losses, history = found.step, found.seconds, found.losses(), found.history
        earlier_tokens = found.num_tokens
    if not history or history[-1][1] != world.name:
        history = (*history, (first, world.name))
    together = Together(model, loss, world=world) if world.size > 1 else None
    division = memory.Division(folder, key=key)
    started = time.perf_counter()
    with exact():
        for step in range(first, num_steps):
            step_started = time.perf_counter()
            if not model.training:  # it walks over every module
                model.train()
            share = schedule.scale(
                step,
                num_steps=num_steps,
                schedule=recipe.schedule,
                warmup_share=recipe.warmup_share,
                decay_share=recipe.decay_share,
            )
            rate = recipe.learning_rate * share
            batches = parts = micro_batches(step)
            if together:
                total, count, num_tokens = _accumulate_together(
                    model, batches, recipe, together, step=step, names=names, world=world
                )
            while not together:
                torch.manual_seed(derive(recipe.seed, "step", step))  # dropout, on every device
                try:
                    parts = memory.divide(batches, division.parts(step))
                    total, count, num_tokens = _accumulate(model, parts, recipe, loss, step=step, names=names)
                    break
                except RuntimeError as err:
                    if not memory.is_out_of_memory(err):
                        raise
                for p in trainable:  # part of the step may be in them
                    p.grad = None
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                division.halve(step, rows=max(len(b["input_ids"]) for b in batches), name=recipe.name)
            with memory.explained(
                f"step {step + 1} of {recipe.name}: what {recipe.optimizer} keeps of the weights",
                remedy="adaptation: lora or optimizer: sgd keep less; BANYAN_PARALLEL=fsdp divides it between GPUs",
            ):
                # together: mean of the sums
                over = count / world.size if together else 1 if len(parts) == 1 else count
                over = over if count else 0
                norm = _finish_gradients(trainable, recipe, over=over, is_sharded=world.is_sharded)
                if not (math.isfinite(norm) and count):
                    what = f"gradient norm {norm}, loss {total / max(1, count)}, {count} targets"
                    raise _not_finite(what, recipe, step=step, rows=names(step) if names else ())
                for optimizer in optims:
                    for group in optimizer.param_groups:
                        group["lr"] = group["initial_lr"] * share
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                if mean:
                    mean.follow(step)
            losses.append(total / count)
            done, now = step + 1, time.perf_counter()
            step_seconds = now - step_started
            seen_tokens, in_steps = seen_tokens + num_tokens, in_steps + step_seconds
            if on_step:
                remaining = (now - started) / (done - first) * (num_steps - done)
                on_step(Progress(done, num_steps, losses[-1], rate, norm, num_tokens, step_seconds, remaining))
            if evaluate and (done == num_steps or (evaluate_every_steps and done % evaluate_every_steps == 0)):
                model.eval()
                looking = memory.explained(
                    f"the look at held-out rows after step {done} of {recipe.name}",
                    remedy="halve batch_size and double num_accumulation_steps: the steps stay the same",
                )
                with looking, mean.in_place() if mean else contextlib.nullcontext():
                    heldout_loss = distributed.from_first(world, evaluate(done, division.parts(step)))
                    if best:
                        best.see(math.nan if heldout_loss is None else heldout_loss)
                if best and best.is_over:
                    break
            if done % recipe.checkpoint_every_steps == 0 and done < num_steps:  # last: it holds what was evaluated
                seconds, all_tokens = earlier_seconds + time.perf_counter() - started, earlier_tokens + seen_tokens
                keys = {"key": key, "elastic_key": elastic_key, "history": history, "num_tokens": all_tokens}
                state = {"model": model, "optimizers": kept, "losses": losses}
                if world.is_sharded:
                    checkpoint.save_shards(folder, step=done, seconds=seconds, world=world, **keys, **state)  # type: ignore[arg-type]
                elif world.is_first:
                    checkpoint.save(folder, step=done, seconds=seconds, **keys, **state)  # type: ignore[arg-type]
    for weights in (best, mean):
        if weights:
            weights.settle()
            break  # the best ones are means already, where there is one
    model.eval()
    tail = losses[-max(1, len(losses) // 10) :]
    counted = (earlier_tokens + seen_tokens, seen_tokens)
    flops, of_these = (flops_of(sizes, num_tokens=n, length=recipe.max_length_tokens)[0] for n in counted)
    return Fitted(
        num_steps=len(losses),
        resumed_from=first,
        seconds=earlier_seconds + time.perf_counter() - started,
        last_loss=sum(tail) / len(tail),
        losses=tuple(losses),
        parallel=checkpoint.told(history),
        division=division.told,
        num_tokens=counted[0],
        flops=flops,
        flops_per_second=of_these / in_steps if in_steps else 0.0,
    )


def _finish_gradients(trainable: "Sequence[Tensor]", recipe: Training, *, over: float, is_sharded: bool) -> float:
    """Summed gradients become the mean `over` so many targets, of a norm that is clipped; its norm before, per target.

    Mean and clipping are one factor, so that the gradients are read for their norm and written once.
    """
    import torch

    if not over:
        return math.nan
    with_gradients = [p for p in trainable if p.grad is not None]
    gradients = [p.grad for p in with_gradients if p.grad is not None]
    if recipe.l1 or is_sharded:
        torch._foreach_div_(gradients, over)
        over = 1.0
    if recipe.l1:  # the derivative of l1 × Σ |w|
        for p, gradient in zip(with_gradients, gradients, strict=True):
            if p.ndim >= 2:
                gradient.add_(p.detach().sign(), alpha=recipe.l1)
    if is_sharded:
        return distributed.clip(trainable, recipe.max_gradient_norm)
    norm = torch.nn.utils.get_total_norm(gradients).item() / over
    factor = min(1.0, recipe.max_gradient_norm / (norm + 1e-6)) / over
    if factor != 1.0:
        torch._foreach_mul_(gradients, factor)
    return norm


def _accumulate_together(
    model: "PreTrainedModel",
    batches: Sequence[Batch],
    recipe: Training,
    together: Together,
    *,
    step: int,
    names: Callable[[int], Sequence[str]] | None,
    world: World,
) -> tuple[float, int, int]:
    """This worker's share of a step; loss, targets and tokens are all workers'."""
    import torch

    own, rows = distributed.share(batches, world)
    torch.manual_seed(derive(recipe.seed, "step", step, "rank", world.rank))
    called = (lambda step: [names(step)[row] for row in rows]) if names else None
    try:
        found = _accumulate(model, own, recipe, together, step=step, names=called, held=together.without_exchange)
    except RuntimeError as err:
        if not memory.is_out_of_memory(err):
            raise
        raise TrainingError(  # the others are in the middle of an exchange: this worker alone cannot begin anew
            f"step {step + 1} of {recipe.name}: worker {world.rank}'s rows do not fit its device's memory",
            "halve batch_size and double num_accumulation_steps: the steps stay the same",
        ) from err
    total, count, num_tokens = distributed.added(*found)
    return total, int(count), int(num_tokens)


def _accumulate(
    model: "PreTrainedModel",
    batches: Sequence[Batch],
    recipe: Training,
    loss: Loss,
    *,
    step: int,
    names: Callable[[int], Sequence[str]] | None,
    held: Callable[[], contextlib.AbstractContextManager[None]] | None = None,
) -> tuple[float, int, int]:
    """Gradients of a step, summed in the parameters: loss in nats, targets, tokens. All but the last micro-batch are
    computed inside `held`. Of one micro-batch by itself they are the mean's."""
    import torch

    total, count, num_tokens, num_rows = 0.0, 0, 0, 0
    moved = [{name: t.to(model.device) for name, t in batch.items()} for batch in batches]
    is_whole = held is None and len(moved) == 1
    for i, batch in enumerate(moved):
        with held() if held and i + 1 < len(moved) else contextlib.nullcontext():
            with torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                summed, targets = loss(model, batch)
            nats, rows = summed.item(), len(batch["input_ids"])
            if not math.isfinite(nats):
                called = names(step)[num_rows : num_rows + rows] if names else ()
                raise _not_finite(f"loss {nats} in micro-batch {i + 1} of {len(moved)}", recipe, step=step, rows=called)
            # a step of one micro-batch is divided here, as a number, and not in every gradient
            (summed / targets if is_whole else summed).backward()
        total, count, num_rows = total + nats, count + int(targets), num_rows + rows
        num_tokens += int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()
        num_tokens += batch["decoder_input_ids"].numel() if "decoder_input_ids" in batch else 0
    return total, count, num_tokens


def _not_finite(what: str, recipe: Training, *, step: int, rows: Sequence[str]) -> NonFiniteLoss:
    shown = ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
    return NonFiniteLoss(
        f"step {step + 1} of {recipe.name}: {what}" + (f"; its rows: {shown}" if rows else ""),
        "look at these rows; lower learning_rate, raise warmup_share, or use precision: fp32",
    )


def _save_activations(model: "PreTrainedModel", recipe: Training) -> None:
    if not recipe.gradient_checkpointing:
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise RecipeError(f"{recipe.name}: gradient_checkpointing: {type(model).__name__} cannot do it", "leave it out")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
