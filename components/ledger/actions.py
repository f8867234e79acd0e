"""The operators' door: who may ask for what, and a row in the ledger for everything that was asked.

A row is written before the thing is done (`asked`) and closed afterwards: what a crash interrupted stays `asked`. What
is refused is kept as well. Alias moves have the journal besides, whose chain cannot be changed unnoticed.
"""

import getpass
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import update

from components.errors import BanyanError, NotPermitted
from components.ledger.keys import ROLES
from components.ledger.schema import Role, actions
from components.ledger.store import Ledger

NEEDS: Mapping[str, Role] = {
    "ask": "viewer",
    "feedback": "rater",
    "explain": "rater",
    "preference": "rater",
    "retrain": "operator",
    "rollback": "operator",
    "promote": "operator",
    "cancel": "operator",
    "retry": "operator",
    "schedule": "operator",
    "appeal": "operator",
    "accept-journal": "operator",
}
"""Action → the role that it takes, or a higher one."""

T = TypeVar("T")


@dataclass(frozen=True)
class Actor:
    """Whoever asks. `name` stands in the ledger and in the journal."""

    name: str
    role: Role
    subject: str = ""
    """Whose feedback it is, to be kept as a pseudonym; empty for somebody at this machine whom nobody has asked."""


def at_this_machine() -> Actor:
    """Whoever sits here, whom nobody has asked who they are: with the workspace's files in hand, an operator."""
    try:
        return Actor(f"local:{getpass.getuser()}", "operator")
    except (KeyError, OSError):  # a container without a name for its user
        return Actor("local:unknown", "operator")


def may(actor: Actor, action: str) -> bool:
    """Whether the role reaches so far; an action that is not in `NEEDS` takes an operator."""
    return ROLES.index(actor.role) >= ROLES.index(NEEDS.get(action, "operator"))


def perform(action: str, *, subject: str, actor: Actor, ledger: Ledger, do: Callable[[], T]) -> T:
    """`do()`, if the actor may; kept in the ledger with what became of it.

    Args:
        subject: what it is done to: a table, a registered model, a run's id.

    Raises:
        NotPermitted: the actor's role does not reach so far; nothing was done.
        LedgerError: it could not be written down, so it was not done.
    """
    require(action, subject=subject, actor=actor, ledger=ledger)
    sequence = _write(ledger, action, subject=subject, actor=actor, outcome="asked")
    try:
        result = do()
    except Exception as err:
        _close(ledger, sequence, "failed", err.message if isinstance(err, BanyanError) else type(err).__name__)
        raise
    _close(ledger, sequence, "done", str(result)[:200] if result is not None else "")
    return result


def require(action: str, *, subject: str, actor: Actor, ledger: Ledger) -> None:
    """Let pass or refuse, and keep the refusal: for what leaves a row of its own, such as feedback.

    Raises:
        NotPermitted: the actor's role does not reach so far.
    """
    if may(actor, action):
        return
    needed = NEEDS.get(action, "operator")
    _write(ledger, action, subject=subject, actor=actor, outcome="refused", detail=f"needs {needed}")
    raise NotPermitted(
        f"{action} of {subject} needs the role {needed}; {actor.name} is a {actor.role}",
        f"ask an operator, or to be made {needed}",
    )


def _write(ledger: Ledger, action: str, *, subject: str, actor: Actor, outcome: str, detail: str = "") -> int:
    row = {"at": time.time(), "actor": actor.name[:128], "role": actor.role, "action": action}
    row |= {"subject": subject[:128], "outcome": outcome, "detail": detail}
    with ledger.database.write() as connection:
        made = connection.execute(actions.insert().values(row).returning(actions.c.sequence))
        return int(made.scalar_one())


def _close(ledger: Ledger, sequence: int, outcome: str, detail: str) -> None:
    with ledger.database.write() as connection:
        mine = update(actions).where(actions.c.sequence == sequence)
        connection.execute(mine.values(outcome=outcome, detail=detail))
