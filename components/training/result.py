"""What a training says while it runs, and what it leaves behind when it is done."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import BanyanError, CheckpointError
from components.models import adapters
from components.models.pretrained import quiet
from components.training.lock import Lock, weights_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.training.distributed import World
    from components.training.loop import Fitted


@dataclass(frozen=True)
class Progress:
    """One optimiser step, just done."""

    step: int
    """1 … num_steps."""
    num_steps: int
    loss: float
    """Nats per target, mean over the step's rows."""
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    num_tokens: int
    """Of this step, padding not counted."""
    seconds: float
    """That this step took."""
    remaining_seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds


@dataclass(frozen=True)
class Evaluation:
    """A look at rows that are not trained on."""

    step: int
    metrics: dict[str, float]
    sample: str = ""
    """What the model writes by now; empty where it does not write."""


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    model_dir: Path
    """A Hugging Face folder: configuration, safetensors, tokenizer; or adapters of one (`models.adapters`)."""
    weights_sha256: str
    num_steps: int
    seconds: float
    """Spent training, over all attempts, less what a kill made it do twice."""
    lock: Lock
    resumed_from: int = 0
    """The step of the checkpoint that this attempt began with; `num_steps` if all was there."""
    metrics: dict[str, float] = field(default_factory=dict)
    sample: str = ""
    losses: tuple[float, ...] = ()
    """Of every step, nats per target, to the last bit: what `verify` compares."""
    num_tokens: int = 0
    """Of all steps, padding not counted."""
    flops: float = 0.0
    """Of the model, over the tokens of all steps."""
    flops_per_second: float = 0.0
    """Of the steps of the last attempt; all workers together."""


def save(
    run_dir: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    lock: Lock,
    fitted: "Fitted",
    metrics: dict[str, float],
    sample: str = "",
    world: "World | None" = None,
    base: "tuple[str, Path] | None" = None,
) -> Trained:
    """Put the model in `run_dir/model` and what is known of it in `run_dir/trained.json`, which comes last; the
    checkpoints have served and go. Of several workers the first one writes, and all have the result.

    Args:
        base: where adapters are kept: the recipe's name of what they lie on, and its folder.

    Raises:
        CheckpointError: the disk does not take it.
    """
    from safetensors import SafetensorError

    if world is not None and world.size > 1:
        from components.training.distributed import from_first

        made = None
        if world.is_first:
            made = save(run_dir, model, tokenizer, lock=lock, fitted=fitted, metrics=metrics, sample=sample, base=base)
        result: Trained = from_first(world, made)
        return result
    lock = replace(lock, division=fitted.division)
    lock = lock if fitted.parallel is None else replace(lock, parallel=fitted.parallel)
    final, beside = run_dir / "model", run_dir / f".model.{os.getpid()}"
    try:
        for leftover in run_dir.glob(".model.*"):
            shutil.rmtree(leftover)
        (run_dir / "trained.json").unlink(missing_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        with quiet():
            model = model.to("cpu")  # type: ignore[arg-type]
            if base is None:
                model.save_pretrained(beside)
            else:
                adapters.save(beside, model, base=base[0], base_sha256=lock.parent)
        tokenizer.save_pretrained(beside)
        beside.rename(final)
        if base is not None:
            adapters.place(final, base[1])
        trained = Trained(
            model_dir=final,
            weights_sha256=weights_sha256(final),
            num_steps=fitted.num_steps,
            seconds=fitted.seconds,
            lock=lock,
            resumed_from=fitted.resumed_from,
            metrics=metrics,
            sample=sample,
            losses=fitted.losses,
            num_tokens=fitted.num_tokens,
            flops=fitted.flops,
            flops_per_second=fitted.flops_per_second,
        )
        content = asdict(trained) | {"model_dir": final.name}
        (run_dir / ".trained.json").write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False))
        (run_dir / ".trained.json").rename(run_dir / "trained.json")
        shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    except (OSError, SafetensorError) as err:  # a full disk is the latter
        shutil.rmtree(beside, ignore_errors=True)
        raise CheckpointError(
            f"the model cannot be written to {run_dir}: {err}", "free some disk space, then run it again"
        ) from err
    return trained


def load(run_dir: Path, lock: Lock) -> Trained | None:
    """The finished training in `run_dir`, if it is the lock's and its weights are whole."""
    try:
        content = json.loads((run_dir / "trained.json").read_text())
        content |= {"model_dir": run_dir / content["model_dir"], "lock": Lock(**content["lock"])}
        content |= {"losses": tuple(content["losses"])}
        trained = Trained(**content)
        same = trained.lock.undivided.exact_key == lock.exact_key or (
            # by another number of workers at first, and at its end as it would be now
            trained.lock.elastic_key == lock.elastic_key
            and trained.lock.threads == lock.threads
            and trained.lock.last_parallel == lock.parallel
        )
        whole = same and weights_sha256(trained.model_dir) == trained.weights_sha256
    except (OSError, ValueError, TypeError, KeyError, BanyanError):
        return None
    return replace(trained, resumed_from=trained.num_steps) if whole else None
