"""Whether a table is to be retrained now, and why, or why not: counted in the stores, decided by the trigger's recipe.

A bell, a schedule or a person only asks. What counts is looked up here each time, so that a bell that is lost, repeated
or rung for nothing changes nothing.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import func, select

from components.ledger.attempts import Attempt, num_lost_in_a_row, pause_after
from components.ledger.schema import Pending, feedback
from components.ledger.store import Ledger
from components.recipes import TriggerPolicy
from components.settings import Settings
from components.supervisor import addresses

DAY_SECONDS = 86_400.0
NUM_REMEMBERED = 5
"""Retrainings that the expected gain and cost are taken from: the newest, because models and people change."""
SPLIT = "train"
"""Where a new data version is compared with the one that the champion was trained on."""

Cause = Literal["canary", "drift", "data", "feedback"]


@dataclass(frozen=True)
class Past:
    """One retraining of before."""

    num_rows: int
    """Feedback that it used."""
    gain: float
    """Of the gate's metric against the champion of then."""
    seconds: float


@dataclass(frozen=True)
class Facts:
    """What the stores say. Times are in seconds since the epoch."""

    now: float
    num_waiting: int
    ended_at: tuple[float, ...] = ()
    """When retrainings of the table ended, whatever came of them."""
    num_lost: int = 0
    """How many of the newest came to nothing (failed, cancelled, lost their process), since one that did not."""
    past: tuple[Past, ...] = ()
    rolled_back: str = ""
    """The version that the watch took back since the last retraining began."""
    is_new_data: bool = False
    """The table's labelled rows are others than the champion was trained on."""
    drift: float = 0.0
    """The largest certain effect between those two; Cohen: 0.1 is small, 0.3 medium, 0.5 large."""
    drift_of: str = ""


@dataclass(frozen=True)
class Decision:
    starts: bool
    outcome: Literal["Granted", "NotEnoughFeedback", "BackingOff", "Resting", "CeilingReached", "NotWorthIt"]
    reason: str
    """One sentence for a person, with the numbers."""
    cause: Cause | None = None
    again_at: float | None = None
    """When the answer becomes another by itself, as far as one knows."""


def decide(policy: TriggerPolicy, facts: Facts) -> Decision:
    """Causes first, then what speaks against it: quiet period, ceiling, expected gain against cost."""
    cause, why = _cause(policy, facts)
    if cause is None:
        return Decision(False, "NotEnoughFeedback", why)
    # By absolute difference: where the clock was set back, what ended "later" is not waited for until then.
    ages = sorted(abs(facts.now - at) for at in facts.ended_at)
    pause = max(pause_after(facts.num_lost), policy.rest_seconds)
    if ages and facts.num_lost and ages[0] < pause:
        lost = f"{facts.num_lost} attempt{'s' if facts.num_lost > 1 else ''} in a row came to nothing"
        reason = f"{why}; but {lost}, the last {_span(ages[0])} ago, and the next waits {_span(pause - ages[0])}"
        return Decision(False, "BackingOff", reason, cause, facts.now + pause - ages[0])
    if ages and ages[0] < policy.rest_seconds:
        left = policy.rest_seconds - ages[0]
        reason = f"{why}; but the last retraining ended {_span(ages[0])} ago, and the next waits {_span(left)}"
        return Decision(False, "Resting", reason, cause, facts.now + left)
    today = [age for age in ages if age < DAY_SECONDS]
    if policy.maximum_a_day is not None and len(today) >= policy.maximum_a_day:
        reason = f"{why}; but there were {len(today)} retrainings in a day, and {policy.maximum_a_day} are the most"
        again_at = facts.now + DAY_SECONDS - today[policy.maximum_a_day - 1]
        return Decision(False, "CeilingReached", reason, cause, again_at)
    if cause == "feedback" and policy.minimum_gain_an_hour:
        worth = expected(facts)
        if worth is None:
            return Decision(True, "Granted", f"{why}; nothing is known yet of what a retraining gains here", cause)
        gain, seconds = worth
        an_hour = gain * 3600 / seconds
        said = f"{gain:+.2%} expected for {_span(seconds)} of training, {an_hour:+.1%} an hour"
        if an_hour < policy.minimum_gain_an_hour:
            needed = f"; but {said}, and {policy.minimum_gain_an_hour:.1%} are the least"
            return Decision(False, "NotWorthIt", why + needed, cause)
        why += f"; {said}"
    return Decision(True, "Granted", why, cause)


def expected(facts: Facts) -> tuple[float, float] | None:
    """Gain of the metric and seconds of a retraining now, by the ones of before; None: there were none.

    The gain a row is the median of the newest ones'; it is taken to be the same for each row that waits, which flatters
    a large heap (returns diminish), and never for more rows than twice what was ever used at once.
    """
    past = [one for one in facts.past if one.num_rows and one.seconds][-NUM_REMEMBERED:]
    if not past:
        return None
    a_row = statistics.median(one.gain / one.num_rows for one in past)
    rows = min(facts.num_waiting, 2 * max(one.num_rows for one in past))
    return a_row * rows, statistics.median(one.seconds for one in past)


def _cause(policy: TriggerPolicy, facts: Facts) -> tuple[Cause | None, str]:
    waiting = f"{facts.num_waiting} rows of feedback wait"
    if policy.on_failed_canary and facts.rolled_back:
        return "canary", f"{facts.rolled_back} was taken back by the watch; {waiting}"
    if policy.maximum_drift is not None and facts.drift > policy.maximum_drift:
        return "drift", f"{facts.drift_of} drifted by {facts.drift:.2f}, and {policy.maximum_drift:.2f} are let pass"
    if policy.on_new_data and facts.is_new_data:
        return "data", "the table's labelled rows are others than the champion was trained on"
    if facts.num_waiting >= policy.minimum_feedback:
        return "feedback", f"{waiting}, and {policy.minimum_feedback} are enough"
    quiet = [f"{waiting}; {policy.minimum_feedback} are enough"]
    if policy.maximum_drift is not None:
        quiet.append(f"drift {facts.drift:.2f} of {policy.maximum_drift:.2f}")
    if policy.on_new_data:
        quiet.append("no new labelled rows")
    if policy.on_failed_canary:
        quiet.append("nothing was taken back")
    return None, "; ".join(quiet)


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


# ---------------------------------------------------------------- looking


def look(table: str, policy: TriggerPolicy, *, ledger: Ledger, settings: Settings) -> Facts:
    """What the policy needs to know, and no more: MLflow is asked only for a policy that looks at data.

    Raises:
        LedgerError, RegistryUnavailable: a store did not answer.
    """
    judged = _judged(ledger.attempts(table))
    facts = counted(table, policy, ledger=ledger)
    if policy.on_failed_canary:
        since = judged[-1].started_at if judged else 0.0  # what came later was not known to it
        facts = replace(facts, rolled_back=_rolled_back(table, since, ledger=ledger))
    if policy.on_new_data or policy.maximum_drift is not None:
        is_new, drift, drift_of = _data(table, policy, judged, settings=settings)
        facts = replace(facts, is_new_data=is_new, drift=drift, drift_of=drift_of)
    return facts


def counted(table: str, policy: TriggerPolicy, *, ledger: Ledger, pending: Pending | None = None) -> Facts:
    """What the ledger counts, in milliseconds and without another store: enough to tell whether feedback starts one.

    Raises:
        LedgerError: it did not answer.
    """
    ended = ledger.attempts(table)
    return Facts(
        now=ledger.now(),
        num_waiting=(pending or ledger.pending(table)).count,
        ended_at=tuple(one.ended_at for one in ended),
        num_lost=num_lost_in_a_row(ended),
        past=tuple(_past(table, ledger=ledger)) if policy.minimum_gain_an_hour else (),
    )


def _judged(ended: Sequence[Attempt]) -> list[Attempt]:
    return [one for one in ended if not one.is_lost]


def _past(table: str, *, ledger: Ledger) -> Sequence[Past]:
    from components.registry import model_name  # with MLflow, 0.8 s

    name = model_name(table)
    gains = {row.model_version: row.difference for row in ledger.verdicts(name) if row.against == "champion"}
    costs = [cost.seconds for cost in ledger.costs(subject_name=name) if cost.stage == "train"]
    seconds = statistics.median(costs[-NUM_REMEMBERED:]) if costs else 0.0
    found, before = [], 0
    for cut in ledger.cuts(table):
        if cut.model_version in gains:
            found.append(Past(_num_rows(table, before, cut.cut, ledger=ledger), gains[cut.model_version], seconds))
        before = cut.cut
    return found


def _num_rows(table: str, after: int, to: int, *, ledger: Ledger) -> int:
    within = (feedback.c.table_name == table, feedback.c.sequence > after, feedback.c.sequence <= to)
    with ledger.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(feedback).where(*within)).scalar() or 0)


def _rolled_back(table: str, since: float, *, ledger: Ledger) -> str:
    from components.registry import model_name

    for entry in reversed(ledger.journal(model_name(table))):
        if entry.at >= since and entry.actor == "watch" and entry.action == "rollback" and entry.state == "done":
            return f"{entry.name} v{entry.from_version}"
    return ""


def _data(
    table: str, policy: TriggerPolicy, judged: Sequence[Attempt], *, settings: Settings
) -> tuple[bool, float, str]:
    """Whether the labelled rows differ from those of champion and newest retraining, by how much, and in what.

    A retraining that was rejected has had its verdict on these rows: it is not begun anew for them.
    """
    from components.data import versioning
    from components.data.drift import drifts
    from components.data.tables import read_split, table_info, target_column
    from components.registry import Registry, model_name

    registry, head = Registry(addresses(settings).mlflow), versioning.head(settings)
    champion = registry.champion(model_name(table))
    if champion is None or head is None or table not in head.tables:
        return False, 0.0, ""
    last = [one for one in judged if one.model_version][-1:]
    tried = [registry.ref(one.model_name, one.model_version) for one in last]
    refs = [versioning.manifest(registry.get(one).data_version, settings=settings).ref for one in (champion, *tried)]
    now, *known = (versioning.path_of(ref, settings) / table / f"{SPLIT}.parquet" for ref in (head, *refs))
    if not (now.is_file() and known[0].is_file()):
        return False, 0.0, ""
    if any(path.is_file() and path.read_bytes() == now.read_bytes() for path in known):
        return False, 0.0, ""
    if policy.maximum_drift is None:
        return True, 0.0, ""
    task = table_info(now.parents[1], table).task
    frames = [read_split(path.parents[1], table, SPLIT) for path in (known[0], now)]
    label = target_column(task)
    found = max(drifts(*frames, label=label), key=lambda one: one.certain)
    return True, found.certain, found.measure
