"""What held-out text says of a language model: its loss, how sure that is, and what counting alone would come to."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.recipes import Pretrain
from components.tasks.base import IGNORED
from components.training import memory
from components.training.objectives import Rows, evenly, logits_of, loss_of, objective_of
from components.training.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

NUM_RESAMPLES = 1000
MOST_COUNTED_ROWS = 4096
"""Evenly spaced over the training rows: of a corpus on disk the unigram model reads no more."""


@dataclass(frozen=True)
class Look:
    """One look at all held-out rows, in nats without smoothing."""

    nats: float
    num_targets: int
    num_right: int
    """Of yes or no; 0 for other objectives."""
    rows: tuple[tuple[float, int], ...]
    """Nats and targets of each row."""

    @property
    def loss(self) -> float:
        """Nats a target."""
        return self.nats / self.num_targets


def look(model: "PreTrainedModel", rows: Rows, recipe: Pretrain, *, parts: int) -> Look:
    """In the precision of training, and its batches in so many parts."""
    import torch

    nats, num_targets, num_right = 0.0, 0, 0
    each: list[tuple[float, int]] = []
    judges = objective_of(recipe) == "continuation"
    with torch.inference_mode():
        for batch in memory.divide(rows.heldout(), parts):
            moved = {name: t.to(model.device) for name, t in batch.items()}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = logits_of(model, moved)
                summed, targets = loss_of(logits, moved["labels"])
                alone = [loss_of(logits[i : i + 1], moved["labels"][i : i + 1]) for i in range(len(logits))]
            if judges:
                num_right += int(((logits.squeeze(-1) > 0) == moved["labels"].bool()).sum())
            nats, num_targets = nats + summed.item(), num_targets + int(targets)
            each += [(loss.item(), int(count)) for loss, count in alone]
    return Look(nats, num_targets, num_right, tuple(each))


def interval(found: Look, *, seed: int) -> tuple[float, float]:
    """95 % of the loss, by percentiles over resampled rows (Efron and Tibshirani 1993, ch. 13).

    It is about other text of the same kind; what another seed of the training would come to is not in it.
    """
    import numpy as np

    nats, targets = np.array(found.rows, np.float64).T
    draw = np.random.default_rng(derive(seed, "held-out interval"))
    chosen = draw.integers(0, len(nats), (NUM_RESAMPLES, len(nats)))
    low, high = np.percentile(nats[chosen].sum(1) / targets[chosen].sum(1), (2.5, 97.5)).tolist()
    return low, high


def baseline(train: "Tensor", rows: Rows, *, vocab_size: int) -> float:
    """Nats a target of a model that knows how often each token comes in the training rows, and nothing else.

    Counts begin at one (Laplace), so that a token that never came has a probability. Of yes or no, which are drawn
    equally often, it is ln 2.

    Args:
        train: token rows (n, T + 1).
        rows: the held-out ones, whose targets are those that `look` measures.
    """
    import torch

    if objective_of(rows.recipe) == "continuation":
        return math.log(2)
    counts = torch.ones(vocab_size, dtype=torch.float64)
    for part in evenly(train, MOST_COUNTED_ROWS).split(256):
        counts += torch.bincount(part.long().flatten(), minlength=vocab_size)
    surprise = -(counts / counts.sum()).log()
    targets = torch.cat([batch["labels"].flatten() for batch in rows.heldout()])
    return float(surprise[targets[targets != IGNORED]].mean())
