"""What the stores say of the loop as a whole: how long a complaint takes to a better model, and what was lost."""

from dataclasses import dataclass

from components.ledger.store import Ledger
from components.registry import model_name

FOLLOW_SECONDS = 10.0
"""Within which a gateway answers with the version before, model loaded: five times what is asked of it."""


@dataclass(frozen=True)
class Closing:
    """One closed loop; times in seconds since the epoch."""

    complaint_at: float
    """When somebody first said that an answer of the version before was wrong."""
    version_before: int
    promoted_at: float
    version_after: int
    answers_at: float
    """When the version after first answered somebody."""

    @property
    def minutes(self) -> float:
        return (self.answers_at - self.complaint_at) / 60


@dataclass(frozen=True)
class Measures:
    """Of one table, but for the rows lost, which are of all."""

    closing: Closing | None
    """The newest; None while none was closed."""
    num_promotions: int
    num_rollbacks: int
    rollback_seconds: float | None
    """Of the newest: from when it was written down until the alias had moved."""
    rollback_dropped: int | None
    """Requests to the table that got no answer meanwhile, and in the ten seconds in which gateways follow."""
    num_rows: int
    num_lost: int
    """Numbers that feedback was acknowledged under and that no row has."""


def measures(ledger: Ledger, table: str) -> Measures:
    """Read from the ledger and its journal. Raises LedgerError."""
    name = model_name(table)
    entries = [entry for entry in ledger.journal(name) if entry.alias == "champion"]
    done = [entry for entry in entries if entry.state == "done"]
    begun = {entry.move_id: entry.at for entry in entries if entry.state == "intended"}
    promotions = [entry for entry in done if entry.action == "promote"]
    rollbacks = [entry for entry in done if entry.action == "rollback"]
    last = rollbacks[-1] if rollbacks else None
    since = begun.get(last.move_id) if last else None
    closing = None
    complaints = ledger.first_complaints(name)
    for move in reversed(promotions):
        if move.from_version is None:
            continue
        complaint = complaints.get(move.from_version)
        if complaint is None or complaint >= move.at:
            continue
        answer = ledger.first_answer(table, name, move.to_version, after=move.at)
        if answer is not None:
            closing = Closing(complaint, move.from_version, move.at, move.to_version, answer)
            break
    num_numbered, num_rows = ledger.feedback_numbers()
    return Measures(
        closing=closing,
        num_promotions=len(promotions),
        num_rollbacks=len(rollbacks),
        rollback_seconds=last.at - since if last and since is not None else None,
        rollback_dropped=ledger.num_failed(table, since=since, until=last.at + FOLLOW_SECONDS)
        if last and since is not None
        else None,
        num_rows=num_rows,
        num_lost=num_numbered - num_rows,
    )
