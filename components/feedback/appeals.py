"""An operator overrules a refusal; the next cut admits the row."""

from components.errors import UsageError
from components.feedback.screening import APPEALABLE
from components.ledger.store import Ledger


def appeal(ledger: Ledger, feedback_id: str, *, actor: str, why: str) -> int:
    """Records it in the row's way, and gives its sequence: cuts from there on hold it.

    Raises:
        UsageError: there is no such row, it is not refused, or for a reason that no judgement can change.
    """
    way = ledger.fate_of(feedback_id)
    if not way:
        raise UsageError(f"there is no feedback {feedback_id!r}", "see: banyan feedback list TABLE --refused")
    now = way[-1]
    if now.fate != "refused":
        raise UsageError(f"feedback {feedback_id} is {now.fate}, not refused", "only a refusal can be appealed")
    if now.reason not in APPEALABLE:
        raise UsageError(
            f"feedback {feedback_id} was refused as {now.reason!r}, which is a fact and not a judgement",
            "give feedback that says more, or on another text",
        )
    return ledger.appeal(feedback_id, actor=actor, why=why)
