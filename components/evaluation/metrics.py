"""Numbers of a whole evaluation, from its per-example scores."""

import math
from typing import TYPE_CHECKING

from components.tasks.base import Task

if TYPE_CHECKING:
    import pandas as pd


def summarise(per_example: "pd.DataFrame", task: Task) -> dict[str, float]:
    """The task's metric and what belongs beside it.

    Always: the metric (mean score), `standard_error` of it, `num_examples`. Where answers are labels also `top3`,
    `macro_f1` (mean F1 over the labels that occur), `chance` (one over their number) and `calibration_error`
    (expected, ten bins of confidence; Guo et al. 2017, eq. 3).
    """
    score = per_example["score"]
    n = len(score)
    found = {
        task.metric_name: float(score.mean()),
        "standard_error": float(score.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
        "num_examples": float(n),
    }
    if task.head == "classifier":
        found |= {
            "top3": float(per_example["top3"].mean()),
            "macro_f1": _macro_f1(per_example),
            "chance": 1 / max(1, per_example["target"].nunique()),
            "calibration_error": _calibration_error(per_example),
        }
    return found


def _macro_f1(per_example: "pd.DataFrame") -> float:
    said, true = per_example["prediction"], per_example["target"]
    scores = []
    for label in sorted(set(true)):
        both = int(((said == label) & (true == label)).sum())
        scores.append(2 * both / (int((said == label).sum()) + int((true == label).sum())))
    return sum(scores) / len(scores) if scores else math.nan


def _calibration_error(per_example: "pd.DataFrame") -> float:
    bins = (per_example["confidence"] * 10).clip(upper=9.999).astype(int)
    error = 0.0
    for _, part in per_example.groupby(bins):
        error += len(part) / len(per_example) * abs(float(part["score"].mean() - part["confidence"].mean()))
    return error
