"""Does a model know when it is right? Evidence beside the gate's verdict; it decides nothing."""

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd

NUM_BINS = 10


class Calibration(BaseModel):
    """Challenger beside champion. Lower is better in all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: float
    """Expected calibration error of the challenger, in [0, 1]."""
    champion_error: float
    brier_difference: float
    """Mean of (score − confidence)², challenger − champion: paired, and unlike the error not biased by its bins."""
    brier_low: float
    brier_high: float
    """95 % interval of that difference (normal: a mean of paired differences)."""


def calibration(challenger: "pd.DataFrame", champion: "pd.DataFrame") -> Calibration | None:
    """Both models' confidences against what came of them; None where one of them states no confidence.

    Args:
        challenger: columns `id`, `score`, `confidence`; likewise `champion`, on the same ids.
    """
    if any("confidence" not in frame or frame["confidence"].isna().any() for frame in (challenger, champion)):
        return None
    pair = [frame.sort_values("id", ignore_index=True) for frame in (challenger, champion)]
    mine, theirs = ((frame["score"] - frame["confidence"]) ** 2 for frame in pair)
    differences = mine - theirs
    spread = 1.96 * float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 1.0
    mean = float(differences.mean())
    return Calibration(
        error=expected_calibration_error(pair[0]),
        champion_error=expected_calibration_error(pair[1]),
        brier_difference=mean,
        brier_low=mean - spread,
        brier_high=mean + spread,
    )


def expected_calibration_error(per_example: "pd.DataFrame") -> float:
    """Mean distance between confidence and score over ten bins of confidence (Guo et al. 2017, eq. 3)."""
    bins = (per_example["confidence"] * NUM_BINS).clip(upper=NUM_BINS - 0.001).astype(int)
    error = 0.0
    for _, part in per_example.groupby(bins):
        error += len(part) / len(per_example) * abs(float(part["score"].mean() - part["confidence"].mean()))
    return error
