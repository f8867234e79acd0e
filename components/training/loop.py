"""The training loop.

A step is a function of the weights, the optimizer's state and the step's number, and of nothing else: its rows
come from (seed, step), and so does every random draw in it. So a run that was killed resumes at its last
checkpoint and ends with the same bits as one that was not.

One step's rows may come as one micro-batch or as several whose gradients add up. The loss is the sum over
all targets of the step divided by their number, so eight rows at once and eight times one row are the same step.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import NonFiniteLoss
from components.recipes import Training
from components.training import checkpoint, optimizers, schedule
from components.training.device import exact, resolve
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
    resumed_from: int
    seconds: float
    last_loss: float
    """Nats per target, mean over the last tenth of the steps."""
    losses: tuple[float, ...]
    """Of every step, nats per target, over all attempts: what `verify` compares."""


def fit(
    model: "PreTrainedModel",
    recipe: Training,
    *,
    micro_batches: Callable[[int], Sequence[Batch]],
    loss: Loss,
    num_steps: int,
    folder: Path,
    key: str,
    on_step: Callable[[Progress], None] | None = None,
    evaluate: Callable[[int], None] | None = None,
    evaluate_every_steps: int | None = None,
) -> Fitted:
    """Train `model` in place, in evaluation mode afterwards.

    Args:
        micro_batches: the batches of a step, 0 … num_steps − 1.
        loss: sum and count over a batch; they are added up over the step's micro-batches.
        folder: where checkpoints lie; the last one of `key` is resumed.
        evaluate: called after every `evaluate_every_steps` steps and after the last one, with the number of steps done.

    Raises:
        NonFiniteLoss: the loss or its gradient is not a number; says at which step.
        CheckpointError: a checkpoint cannot be written.
    """
    import torch

    device = resolve(recipe.device)
    model.to(device)  # type: ignore[arg-type]  # transformers wraps it without its types
    trainable = [p for p in model.parameters() if p.requires_grad]
    optims = optimizers.build(model, recipe)
    first, earlier_seconds = 0, 0.0
    losses: list[float] = []
    if found := checkpoint.latest(folder, key=key):
        checkpoint.restore(found, model=model, optimizers=optims)
        first, earlier_seconds, losses = found.step, found.seconds, found.losses()
    started = time.perf_counter()
    with exact():
        for step in range(first, num_steps):
            step_started = time.perf_counter()
            model.train()
            torch.manual_seed(derive(recipe.seed, "step", step))  # dropout, on every device
            rate = recipe.learning_rate * schedule.scale(
                step, num_steps=num_steps, schedule=recipe.schedule, warmup_share=recipe.warmup_share
            )
            batches = [{name: t.to(device) for name, t in batch.items()} for batch in micro_batches(step)]
            total, count, num_tokens = 0.0, 0, 0
            for batch in batches:
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    summed, targets = loss(model, batch)
                summed.backward()
                total, count = total + summed.item(), count + int(targets)
                num_tokens += (
                    int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()
                )
            for p in trainable:
                if p.grad is not None:
                    p.grad.div_(count)
            norm = torch.nn.utils.clip_grad_norm_(trainable, recipe.max_gradient_norm).item()
            if not (math.isfinite(total) and math.isfinite(norm) and count):
                raise NonFiniteLoss(
                    f"step {step + 1} of {recipe.name}: loss {total / max(1, count)}, gradient norm {norm}, "
                    f"{count} targets",
                    "lower learning_rate, raise warmup_share, or use precision: fp32",
                )
            for optimizer in optims:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            losses.append(total / count)
            done, now = step + 1, time.perf_counter()
            if on_step:
                remaining = (now - started) / (done - first) * (num_steps - done)
                on_step(Progress(done, num_steps, losses[-1], rate, norm, num_tokens / (now - step_started), remaining))
            if done % recipe.checkpoint_every_steps == 0 and done < num_steps:
                seconds = earlier_seconds + time.perf_counter() - started
                checkpoint.save(
                    folder, step=done, key=key, seconds=seconds, model=model, optimizers=optims, losses=losses
                )
            if evaluate and (done == num_steps or (evaluate_every_steps and done % evaluate_every_steps == 0)):
                model.eval()
                evaluate(done)
    model.eval()
    tail = losses[-max(1, len(losses) // 10) :]
    return Fitted(
        num_steps=num_steps,
        resumed_from=first,
        seconds=earlier_seconds + time.perf_counter() - started,
        last_loss=sum(tail) / len(tail),
        losses=tuple(losses),
    )
