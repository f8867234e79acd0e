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

One comparison errs at the level it states. Over a stream of retrainings on the same test split the errors add up, so
a comparison that is one of a stream is given a `Look` (`spending.py`): its interval and test must then hold at the
look's level, while `low` and `high` stay those of the policy's level, for people to read.

Right/wrong scores are resampled by their three possible values (a multinomial draw is the bootstrap, exactly), and
their sign flips counted exactly, so that the small levels late in a stream are not decided by a handful of resamples.

What the verdict speaks of is *these weights*: they are what would answer. Whether the same training with another seed
would do as well is another question, answered beside it where such trainings are there (`SeedSpread`).
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from components.errors import DataError
from components.evaluation.calibration import Calibration, calibration
from components.evaluation.cost import CostPair
from components.evaluation.feedback_test import FeedbackTest
from components.evaluation.robustness import Probe
from components.evaluation.seeds import SeedSpread
from components.evaluation.slices import Slice, compare_slices, objection
from components.evaluation.spending import Look
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
    look: Look | None = None
    """Where it stands in the stream of comparisons on this test set; None: it stands alone."""
    look_low: float | None = None
    """Lower end of the interval at the look's level: what decided."""
    slices: tuple[Slice, ...] = ()
    calibration: Calibration | None = None
    seeds: SeedSpread | None = None
    probe: Probe | None = None
    cost: CostPair | None = None
    """Of both models; added by who knows where they are kept."""
    feedback: FeedbackTest | None = None
    """Both on the feedback that is kept aside; added in a retraining, and decides nothing."""


def compare(
    challenger: "pd.DataFrame",
    champion: "pd.DataFrame",
    policy: GatePolicy,
    *,
    look: Look | None = None,
    groups: Mapping[str, frozenset[str]] | None = None,
    seeds: SeedSpread | None = None,
    probe: Probe | None = None,
) -> Verdict:
    """Compare two models' per-example scores (columns `id`, `score` in [0, 1]), paired by id.

    Args:
        look: what this comparison may spend of its stream's error; by default it stands alone.
        groups: slice → ids (`slices.groups`).
        seeds: what other seeds of the challenger's training came to.
        probe: what was found with typing errors and a clock; kept with the verdict, and decides nothing.

    Raises:
        DataError: the two were not measured on the same examples, or a score is not in [0, 1].
    """
    paired = differences(challenger, champion)
    d = paired.to_numpy(np.float64)
    level = (1 - policy.confidence_level) / 2 if look is None else look.level
    p_value = _sign_flip(d - policy.minimum_difference, policy, level)
    may_decide = p_value < 2 * level  # else the interval's end in the look's far tail need not be exact
    tails = ((1 - policy.confidence_level) / 2, level)
    (low, high), (look_low, _) = _intervals(d, tails, policy, count=_num_resamples(level if may_decide else 1, policy))
    difference = float(d.mean())
    found = compare_slices(paired, groups, policy) if groups else ()
    verdict: Literal["promote", "reject", "inconclusive"] = "inconclusive"
    against = ""
    if may_decide and look_low > policy.minimum_difference:
        against = objection(found, policy) or _seeds_object(seeds, policy)
        verdict = "inconclusive" if against else "promote"
    elif high <= policy.minimum_difference and difference < policy.minimum_difference:
        verdict = "reject"
    is_spent = look is not None and look.is_spent
    more = _num_more(d, level, policy) if verdict == "inconclusive" and not against and not is_spent else None
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
        reason=_reason(verdict, d, low, high, more, policy, look=look, against=against),
        policy=policy,
        look=look,
        look_low=None if look is None else look_low,
        slices=found,
        calibration=calibration(challenger, champion),
        seeds=seeds,
        probe=probe,
    )


def differences(challenger: "pd.DataFrame", champion: "pd.DataFrame") -> "pd.Series":
    """id → challenger − champion, in order of id.

    Raises:
        DataError: as `compare`.
    """
    import pandas as pd

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
    a, b = challenger.sort_values("id"), champion.sort_values("id")
    return pd.Series(a["score"].to_numpy(np.float64) - b["score"].to_numpy(np.float64), index=list(a["id"]))


def _intervals(
    d: Differences, tails: tuple[float, ...], policy: GatePolicy, *, count: int
) -> list[tuple[float, float]]:
    """Of the mean, one interval for each one-sided error in `tails`; a tail of 0 gives everything there can be."""
    spent = [(-1.0, 1.0) if tail <= 0 else None for tail in tails]
    if np.ptp(d) == 0:
        found = []
        for tail in tails:
            unseen = 1 - tail ** (1 / len(d))
            alike = float(d[0]) * (1 - unseen)
            found.append((max(-1.0, alike - unseen), min(1.0, alike + unseen)))
        return [given or made for given, made in zip(spent, found, strict=True)]
    normal, theta, moved = NormalDist(), float(d.mean()), d - d.mean()
    means = _resampled_means(d, count, policy)
    # Equal means must count as half below, whatever the order in which they were added up.
    below = (int((means < theta - 1e-12).sum()) + int((means < theta + 1e-12).sum())) / 2
    share = min(max(below, 0.5), count - 0.5) / count
    bias = normal.inv_cdf(share)
    acceleration = float((moved**3).sum()) / (6 * float((moved**2).sum()) ** 1.5)

    def end(tail: float) -> float:
        z = bias + normal.inv_cdf(tail)
        return float(np.quantile(means, normal.cdf(bias + z / (1 - acceleration * z))))

    return [given or (end(tail), end(1 - tail)) for given, tail in zip(spent, tails, strict=True)]


def _resampled_means(d: Differences, count: int, policy: GatePolicy) -> Differences:
    """(count,) means of as many samples with replacement."""
    rng = np.random.default_rng(policy.seed)
    values, counts = np.unique(d, return_counts=True)
    if len(values) <= 16:
        return rng.multinomial(len(d), counts / len(d), size=count) @ values / len(d)
    means = np.empty(count)
    many = max(1, 2_000_000 // len(d))  # 16 MB of indices at a time
    for start in range(0, count, many):
        stop = min(start + many, count)
        means[start:stop] = d[rng.integers(0, len(d), (stop - start, len(d)))].mean(1)
    return means


def _num_resamples(tail: float, policy: GatePolicy) -> int:
    """At least fifty beyond the tail: fewer would decide by chance."""
    return max(policy.num_resamples, math.ceil(50 / tail))


def _sign_flip(d: Differences, policy: GatePolicy, level: float) -> float:
    """Share of sign flips at least as far from zero as what was seen; of right/wrong scores exact, else drawn."""
    moved = d[d != 0]
    if len(moved) == 0:
        return 1.0
    if np.ptp(np.abs(moved)) == 0:
        from scipy.special import bdtrc

        wins = int((moved > 0).sum())
        return min(1.0, 2 * float(bdtrc(max(wins, len(moved) - wins) - 1, len(moved), 0.5)))
    rng = np.random.default_rng(policy.seed)
    seen = abs(moved.sum()) * (1 - 1e-12)  # equal sums in another order must count as equal
    wanted = _num_resamples(2 * level, policy) if level > 0 else policy.num_resamples
    as_far, done = 0, 0
    while done < wanted:
        many = min(wanted - done, max(1, 2_000_000 // len(moved)))
        signs = rng.integers(0, 2, (many, len(moved)), dtype=np.int8) * 2 - 1
        as_far += int((np.abs(signs @ moved) >= seen).sum())
        done += many
    return (1 + as_far) / (1 + done)  # the seen one counted in


def _seeds_object(seeds: SeedSpread | None, policy: GatePolicy) -> str:
    if policy.minimum_seeds == 1:
        return ""
    there = seeds.num_seeds if seeds else 1
    if seeds is None or there < policy.minimum_seeds:
        return f"{policy.minimum_seeds} seeds are asked for, and {there} is there: train the recipe with other seeds"
    if seeds.low <= policy.minimum_difference:
        return f"over {there} seeds it is {seeds.difference:+.3f} ({seeds.low:+.3f} to {seeds.high:+.3f})"
    return ""


def _num_more(d: Differences, level: float, policy: GatePolicy) -> int | None:
    """Sample size of a paired z-test at that level and the policy's power, less what there is.

    It takes the seen difference and spread for the true ones, so it is an order of magnitude.
    """
    effect, spread = abs(float(d.mean()) - policy.minimum_difference), float(d.std(ddof=1)) if len(d) > 1 else 0.0
    if effect == 0 or spread == 0 or level <= 0:
        return None
    z = NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(policy.power)
    needed = math.ceil((z * spread / effect) ** 2)
    return max(1, needed - len(d)) if needed < 1_000_000 else None


def _reason(
    verdict: str,
    d: Differences,
    low: float,
    high: float,
    more: int | None,
    policy: GatePolicy,
    *,
    look: Look | None,
    against: str,
) -> str:
    level, least = f"{policy.confidence_level:.0%}", f"{policy.minimum_difference:+.3f}"
    span = f"{d.mean():+.3f} ({level} interval {low:+.3f} to {high:+.3f}, {len(d)} examples)"
    if verdict == "promote":
        return f"better by {span}"
    if verdict == "reject":
        return f"not better by {least}: {span}"
    if against:
        return f"better by {span}, but {against}"
    if look is not None and look.is_spent:
        return f"undecided: {look.number - 1} comparisons have looked at this test set: rotate the test set; {span}"
    if not d.any():
        return f"both scored alike on all {len(d)} examples: this split cannot tell them apart"
    if look is not None and look.number > 1 and low > policy.minimum_difference:
        span += f"; look {look.number} of {look.budget} at this test set asks for {look.confidence_level:.2%}"
    if more is None:
        return f"undecided: {span}"
    return f"undecided: {span}; about {more} more examples would decide"
