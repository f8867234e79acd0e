"""What became of one's own feedback: found by an id that only its author was given, and nobody else's with it."""

from dataclasses import dataclass

from components.ledger.schema import Fate, Feedback
from components.ledger.store import Ledger

MOST_ROWS = 200


@dataclass(frozen=True)
class Mine:
    """One row of one's own, with its way so far."""

    feedback: Feedback
    way: tuple[Fate, ...]


def mine(ledger: Ledger, an_id: str) -> list[Mine]:
    """The rows of the person who holds `an_id`, newest first; none when nothing bears it.

    A feedback id, or a request id from a receipt. Where its row has a subject, it stands for all rows of that subject;
    where it has none, nobody can tell whose the others are, and the row stands alone. A receipt stands for what its
    own asker said of the answer: others who rated it hold receipts or ids of their own.

    Raises:
        LedgerError: the ledger did not answer.
    """
    row = ledger.feedback_row(an_id)
    if row is not None:
        subject, found = row.subject, [row]
    else:
        answer = ledger.answer(an_id)
        if answer is None:
            return []
        subject = answer.subject
        found = [one for one in ledger.feedback_on(an_id) if one.subject == subject]
    if subject is not None:
        found = ledger.feedback_of(subject, limit=MOST_ROWS)
    return [Mine(one, tuple(ledger.fate_of(one.feedback_id))) for one in found]
