"""Is the new champion worse than the old one, by what people said of both at the same time? Valid at every look.

Subjects are split at random: most are answered by the new champion, some by the old one (the control arm). Each
subject is counted once, with its first word, a score from 0 (unwanted) to 1 (wanted). Outcomes form blocks: one of the
control arm, and the mean of those of the new champion that came meanwhile; D is new − control. The null hypothesis is
that the new champion loses no more than the tolerated share m: E[D] ≥ −m. Against it a gambler who starts with 1 bets
a share λ on every block and holds Π (1 + λ (−m − D)): under the null hypothesis a supermartingale that is never
negative, so the chance that it ever reaches 1/α is at most α (Ville 1939), whenever and however often one looks. The
e-value is the mean of several gamblers' capital, one for each λ (Waudby-Smith and Ramdas, *Estimating means of bounded
random variables by betting*, JRSS-B 2024; Shafer 2021).

**Brigades.** Whoever speaks often is counted once. Of subjects whose share among those counted is at most m, and who
lie in both arms as they like, the new champion's mean can fall by m in all against the control's: that is within the
null hypothesis, so they cannot trigger it either, but with probability α. The price is that a loss smaller than m is
not seen.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from components.watch_policy import WatchPolicy

BETS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""λ, as shares of the largest that never loses everything: small ones win slowly on small losses, large ones fast."""


class Watched(BaseModel):
    """What the watch knows now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    e_value: float
    """The largest so far: what was shown stays shown."""
    threshold: float
    """1 / false_alarm."""
    num_new: int
    num_control: int
    num_blocks: int
    mean_new: float | None
    mean_control: float | None
    tolerated_share: float

    @property
    def is_worse(self) -> bool:
        return self.e_value >= self.threshold


def judge(outcomes: Iterable[tuple[bool, float]], policy: WatchPolicy) -> Watched:
    """The evidence that the new champion is worse.

    Args:
        outcomes: in their order, one a subject: whether the control arm answered it, and its score in [0, 1].
    """
    margin = policy.tolerated_share
    bets = [share / (1 + margin) for share in BETS]
    capital = [1.0] * len(bets)
    best, num_blocks = 1.0, 0
    waiting: tuple[list[float], list[float]] = ([], [])  # of the new champion, of the control arm
    sums, counts = [0.0, 0.0], [0, 0]
    for is_control, score in outcomes:
        side = int(is_control)
        waiting[side].append(score)
        sums[side] += score
        counts[side] += 1
        if waiting[0] and waiting[1]:
            difference = sum(waiting[0]) / len(waiting[0]) - waiting[1].pop(0)
            waiting[0].clear()
            capital = [held * (1 + bet * (-margin - difference)) for held, bet in zip(capital, bets, strict=True)]
            best = max(best, sum(capital) / len(capital))
            num_blocks += 1
    means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
    return Watched(
        e_value=best,
        threshold=1 / policy.false_alarm,
        num_new=counts[0],
        num_control=counts[1],
        num_blocks=num_blocks,
        mean_new=means[0],
        mean_control=means[1],
        tolerated_share=margin,
    )
