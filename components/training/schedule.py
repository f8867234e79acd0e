"""The learning rate of a step: a pure function, so that there is no scheduler state to lose."""

import math
from typing import Literal


def scale(
    step: int, *, num_steps: int, schedule: Literal["constant", "linear", "cosine"], warmup_share: float
) -> float:
    """Factor on the learning rate at step 0 … num_steps − 1.

    Linear warm-up over the first `warmup_share` of the steps, then constant, or down to zero in a line or
    half a cosine (Loshchilov & Hutter 2017, eq. 5). No step is spent at exactly zero.
    """
    num_warmup = math.ceil(warmup_share * num_steps)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    done = (step - num_warmup) / max(1, num_steps - num_warmup)  # [0, 1)
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0
