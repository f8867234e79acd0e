"""An operator overrules a refusal; the next cut admits the row."""

from typing import TYPE_CHECKING

from components.errors import UsageError
from components.feedback.reasons import APPEALABLE
from components.ledger.actions import Actor, perform

if TYPE_CHECKING:
    from components.ledger.store import Ledger


def appeal(ledger: "Ledger", feedback_id: str, *, actor: Actor, why: str) -> int:
    """Through the operators' door: recorded in the row's way. Its sequence; cuts from there on hold it.

    Raises:
        NotPermitted: the actor is no operator; the refusal is kept with what operators did.
        UsageError: nobody said why, there is no such row, it is not refused, or for a reason that no judgement changes.
    """
    return perform(
        "appeal",
        subject=feedback_id,
        actor=actor,
        ledger=ledger,
        do=lambda: _overrule(ledger, feedback_id, actor=actor.name, why=why.strip()),
    )


def _overrule(ledger: "Ledger", feedback_id: str, *, actor: str, why: str) -> int:
    if not why:
        raise UsageError(f"nobody said why feedback {feedback_id} was refused wrongly", "give a reason: it is kept")
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
