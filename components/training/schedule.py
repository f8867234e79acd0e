"""The learning rate of a step: a pure function, so that there is no scheduler state to lose."""

import math
from typing import Literal


def scale(
    step: int,
    *,
    num_steps: int,
    schedule: Literal["constant", "linear", "cosine", "wsd"],
    warmup_share: float,
    decay_share: float | None = None,
) -> float:
    """Factor on the learning rate at step 0 … num_steps − 1.

    Linear warm-up over the first `warmup_share` of the steps, then constant, or down to zero in a line or
    half a cosine (Loshchilov & Hutter 2017, eq. 5), or, warm-up–stable–decay, constant until the last `decay_share`
    of the steps and there down in a line (Hu et al. 2024, arXiv 2404.06395, §4; the line: Hägele et al. 2024, arXiv
    2405.18392). No step is spent at exactly zero.
    """
    num_warmup = math.ceil(warmup_share * num_steps)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    if schedule == "wsd":
        num_decay = math.ceil((decay_share or 0.0) * num_steps)
        return min(1.0, (num_steps - step) / (num_decay + 1))
    done = (step - num_warmup) / max(1, num_steps - num_warmup)  # [0, 1)
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0
