"""What a training says while it runs and when it is done."""

from dataclasses import dataclass, field
from pathlib import Path

from components.training.lock import Lock


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
    tokens_per_second: float
    remaining_seconds: float


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
    """A Hugging Face folder: configuration, safetensors, tokenizer."""
    weights_sha256: str
    num_steps: int
    seconds: float
    """Spent training, over all attempts."""
    lock: Lock
    resumed_from: int = 0
    """The step of the checkpoint that this attempt began with; `num_steps` if all was there."""
    metrics: dict[str, float] = field(default_factory=dict)
    sample: str = ""
