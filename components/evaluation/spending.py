"""How much of the permitted error one look at a test set may spend, so that a whole stream of looks stays honest.

Retrainings keep coming, and all are compared on the same test set. If each one errs at its own 5 %, then of twenty
challengers that are no better about one in three streams promotes something. So the error is given to the *stream*:
the probability that anything is promoted that is no better than its champion is at most 1 − `confidence_level`.

- Look k gets the share γ_k of it: half for the first, the other half in proportion to 1/k for looks 2 … `max_looks`.
  A promotion is one-sided, so the first look's level is that of the usual two-sided interval: it pays nothing.
- A look that promoted passes its level on to the next (the online fallback procedure: Tian and Ramdas, *Online control
  of the familywise error rate*, SMMR 2021; Wiens 2003): being right costs nothing.
- No look is bolder than a single comparison would be, and after `max_looks` there is nothing left: rotate the set.

Why it holds: let look i be the first to promote what is no better. All looks since the last one that was *also* no
better were right, so its level is at most α (γ_j + … + γ_i) over these alone. Such blocks do not overlap for different
i, so the levels add up to at most α, whatever the dependence between the tests (Bonferroni). What is assumed: that
training never saw the test set, and which pairs are compared is not chosen by it. Until the first promotion no choice
is made at all. After it the champion is one that did well on this very set, which makes it the harder to beat.
"""

import hashlib
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from components.recipes import GatePolicy

FIRST_SHARE = 0.5
"""Of the stream's error, for the first look. Half, because a two-sided interval at the same level has half of its
error on the side that promotes."""


class Look(BaseModel):
    """One comparison on a test set, as the stream counts it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    """1 for the first comparison that this test set decides."""
    budget: int | None
    """How many it may decide; None: looks are not counted against each other."""
    level: float
    """One-sided: the probability of promoting here what is no better. 0: nothing is left."""
    test_set: str = ""

    @property
    def confidence_level(self) -> float:
        """Of the two-sided interval whose lower end decides."""
        return 1 - 2 * self.level

    @property
    def is_spent(self) -> bool:
        return self.budget is not None and self.number > self.budget


def look(promoted: Sequence[bool], policy: GatePolicy, *, test_set: str = "") -> Look:
    """What the next comparison may spend.

    Args:
        promoted: of every earlier look at this test set, oldest first, whether it promoted.
    """
    number = len(promoted) + 1
    error = 1 - policy.confidence_level
    if policy.max_looks is None:
        return Look(number=number, budget=None, level=error / 2, test_set=test_set)
    given = shares(policy.max_looks)
    level = 0.0
    for k in range(number):
        passed_on = level if k > 0 and promoted[k - 1] else 0.0
        level = min(error * (given[k] if k < len(given) else 0.0) + passed_on, error * FIRST_SHARE)
    return Look(
        number=number,
        budget=policy.max_looks,
        level=level if number <= policy.max_looks else 0.0,
        test_set=test_set,
    )


def shares(max_looks: int) -> list[float]:
    """γ_1 … γ_max_looks: at most 1 in all."""
    rest = sum(1 / k for k in range(2, max_looks + 1))
    return [FIRST_SHARE, *((1 - FIRST_SHARE) / k / rest for k in range(2, max_looks + 1))]


def set_name(ids: Iterable[str]) -> str:
    """A test set's name: a hash of its rows' ids. Data versions that differ in feedback alone share it."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:32]
