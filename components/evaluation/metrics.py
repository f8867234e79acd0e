"""Numbers of a whole evaluation, from its per-example scores."""

import math
from typing import TYPE_CHECKING

from components.tasks.base import Task

if TYPE_CHECKING:
    import pandas as pd


def summarise(per_example: "pd.DataFrame", task: Task) -> dict[str, float]:
    """The task's metric (mean score), `standard_error` of it, `num_examples`, and what belongs beside it.

    A figure that these rows cannot give (F1 of unanswerable questions where there is none, an error of one row's mean)
    is left out.
    """
    score = per_example["score"]
    n = len(score)
    found = {
        task.metric_name: float(score.mean()),
        "standard_error": float(score.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
        "num_examples": float(n),
        **task.figures(per_example),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def interval(
    per_example: "pd.DataFrame", task: Task, *, level: float = 0.95, num_resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Metric → its bootstrap interval: percentiles over resampled examples (Efron and Tibshirani 1993, ch. 13)."""
    import numpy as np

    draw = np.random.default_rng(seed)
    n = len(per_example)
    found: dict[str, list[float]] = {}
    for _ in range(num_resamples):
        again = per_example.iloc[draw.integers(0, n, n)]
        for name, value in ({task.metric_name: float(again["score"].mean())} | task.figures(again)).items():
            if not math.isnan(value):
                found.setdefault(name, []).append(value)
    tails = (50 * (1 - level), 50 * (1 + level))
    return {name: tuple(np.percentile(values, tails).tolist()) for name, values in found.items()}
