"""Does a challenger replace the champion? A paired test with three verdicts.

Both models answered the same examples, so the question is asked of the differences
d_i = score_i(challenger) − score_i(champion): what is easy or hard for both cancels out.
Two things must agree before a model is promoted:

- The **interval** of the mean difference, by the bias-corrected and accelerated bootstrap
  (Efron, *Better Bootstrap Confidence Intervals*, JASA 1987): it needs no normality and is
  right for skewed scores such as ROUGE. It lies wholly above `minimum_difference`.
- The **sign-flip test** (Fisher's randomisation test; for right/wrong scores and a minimum of 0
  it is McNemar's exact test): p < 1 − confidence_level. The bootstrap alone is too bold where only a few
  examples differ: five wins and no loss in a thousand give it an interval above zero, while
  2 · 0.5⁵ = 0.06 of fair coins do the same.

`reject` is as strong a statement: the interval lies wholly at or below the minimum. Anything else
is `inconclusive`, and says about how many more examples would decide if the difference is
what it looks like.

Where every difference is the same number the bootstrap has no spread to resample and would
claim certainty. Then the interval follows from how many examples there are: with confidence
1 − α, at least a share q = (α/2)^(1/n) of all examples behaves so (the exact binomial bound, the "rule
of three"), and the rest may differ by anything in [−1, 1].

One comparison errs at the level it states. Over a stream of retrainings on the same test split
the errors add up: a later issue spends the level over the stream.
"""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from components.errors import DataError
from components.recipes import GatePolicy

if TYPE_CHECKING:
    import pandas as pd

Differences = np.ndarray[tuple[int], np.dtype[np.float64]]


class Verdict(BaseModel):
    """What the gate found. `difference` and its interval are challenger − champion, in the task's score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["promote", "reject", "inconclusive"]
    difference: float
    low: float
    high: float
    p_value: float
    """Two-sided, of the sign-flip test against `minimum_difference`."""
    num_examples: int
    num_wins: int
    num_losses: int
    num_more_needed: int | None
    """About how many further examples would decide; None when decided, or when nothing suggests a number."""
    reason: str
    policy: GatePolicy


def compare(challenger: "pd.DataFrame", champion: "pd.DataFrame", policy: GatePolicy) -> Verdict:
    """Compare two models' per-example scores (columns `id`, `score` in [0, 1]), paired by id.

    Raises:
        DataError: the two were not measured on the same examples, or a score is not in [0, 1].
    """
    d = _differences(challenger, champion)
    low, high = _interval(d, policy)
    p_value = _sign_flip(d - policy.minimum_difference, policy)
    difference = float(d.mean())
    verdict: Literal["promote", "reject", "inconclusive"] = "inconclusive"
    if low > policy.minimum_difference and p_value < 1 - policy.confidence_level:
        verdict = "promote"
    elif high <= policy.minimum_difference and difference < policy.minimum_difference:
        verdict = "reject"
    more = _num_more(d, policy) if verdict == "inconclusive" else None
    return Verdict(
        verdict=verdict,
        difference=difference,
        low=low,
        high=high,
        p_value=p_value,
        num_examples=len(d),
        num_wins=int((d > 0).sum()),
        num_losses=int((d < 0).sum()),
        num_more_needed=more,
        reason=_reason(verdict, d, low, high, more, policy),
        policy=policy,
    )


def _differences(challenger: "pd.DataFrame", champion: "pd.DataFrame") -> Differences:
    """(n,) in order of id."""
    for name, frame in (("challenger", challenger), ("champion", champion)):
        if frame["id"].duplicated().any():
            raise DataError(f"the {name}'s scores hold an id twice", "evaluate it again")
        if not frame["score"].between(0, 1).all():  # NaN is not between either
            raise DataError(f"the {name}'s scores are not all in [0, 1]", "evaluate it again")
    ours, theirs = set(challenger["id"]), set(champion["id"])
    if ours != theirs:
        raise DataError(
            f"challenger and champion were measured on different rows ({len(ours ^ theirs)} of "
            f"{len(ours | theirs)} are in one only)",
            "evaluate both on the same split of the same data version",
        )
    if not ours:
        raise DataError("there is nothing to compare: the test split is empty", "give the table a test split")
    a = challenger.sort_values("id")["score"].to_numpy(np.float64)
    b = champion.sort_values("id")["score"].to_numpy(np.float64)
    return a - b


def _interval(d: Differences, policy: GatePolicy) -> tuple[float, float]:
    tail = (1 - policy.confidence_level) / 2
    if np.ptp(d) == 0:
        unseen = 1 - tail ** (1 / len(d))
        alike = float(d[0]) * (1 - unseen)
        return max(-1.0, alike - unseen), min(1.0, alike + unseen)
    from scipy.stats import bootstrap  # 0.4 s to import

    found = bootstrap(
        (d,),
        np.mean,
        n_resamples=policy.num_resamples,
        batch=max(1, 2_000_000 // len(d)),  # 16 MB of indices at a time
        confidence_level=policy.confidence_level,
        method="BCa",
        rng=np.random.default_rng(policy.seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _sign_flip(d: Differences, policy: GatePolicy) -> float:
    """Share of random sign flips at least as far from zero as what was seen (the seen one counted in)."""
    moved = d[d != 0]
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng(policy.seed)
    seen = abs(moved.sum()) * (1 - 1e-12)  # equal sums in another order must count as equal
    as_far, done = 0, 0
    while done < policy.num_resamples:
        many = min(policy.num_resamples - done, max(1, 2_000_000 // len(moved)))
        signs = rng.integers(0, 2, (many, len(moved)), dtype=np.int8) * 2 - 1
        as_far += int((np.abs(signs @ moved) >= seen).sum())
        done += many
    return (1 + as_far) / (1 + done)


def _num_more(d: Differences, policy: GatePolicy) -> int | None:
    """Sample size of a paired z-test at the policy's level and power, less what there is.

    It takes the seen difference and spread for the true ones, so it is an order of magnitude.
    """
    from statistics import NormalDist

    effect, spread = abs(float(d.mean()) - policy.minimum_difference), float(d.std(ddof=1)) if len(d) > 1 else 0.0
    if effect == 0 or spread == 0:
        return None
    z = NormalDist().inv_cdf((1 + policy.confidence_level) / 2) + NormalDist().inv_cdf(policy.power)
    needed = math.ceil((z * spread / effect) ** 2)
    return max(1, needed - len(d)) if needed < 1_000_000 else None


def _reason(verdict: str, d: Differences, low: float, high: float, more: int | None, policy: GatePolicy) -> str:
    level, least = f"{policy.confidence_level:.0%}", f"{policy.minimum_difference:+.3f}"
    span = f"{d.mean():+.3f} ({level} interval {low:+.3f} to {high:+.3f}, {len(d)} examples)"
    if verdict == "promote":
        return f"better by {span}"
    if verdict == "reject":
        return f"not better by {least}: {span}"
    if not d.any():
        return f"both scored alike on all {len(d)} examples: this split cannot tell them apart"
    if more is None:
        return f"undecided: {span}"
    return f"undecided: {span}; about {more} more examples would decide"
