"""Who retrains a table now, and what became of those who did: leases and attempts.

A cut says only what reached its verdict. What a trigger counts is every retraining that began: one that failed has
cost as much, and one for new data or drift may end at a cut that another has closed already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, delete, select, update

from components.ledger.database import insert_new
from components.ledger.outbox_rows import LONGEST_WAIT_SECONDS, OutboxRows
from components.ledger.schema import attempts, leases, outbox
from components.refs import ModelRef

LOOK_AGAIN = "banyan.retraining.due"
"""The event at which a table is looked at again whose retraining was put off, or failed."""
LEASE_SECONDS = 7200.0
"""How long the bell stays silent at most for a retraining that nobody looks after; others renew it (`flows.claims`)."""
FIRST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 86_400.0

AttemptCause = Literal["canary", "drift", "data", "feedback", "asked", "unknown"]
Lost = Literal["failed", "cancelled", "crashed"]
LOST: tuple[Lost, ...] = ("failed", "cancelled", "crashed")
"""Outcomes of attempts that came to nothing."""


def lease_name(table: str) -> str:
    """The lease that a retraining of `table` holds while it works: the bell is silent meanwhile."""
    return f"retrain.{table}"


def pause_after(num_lost: int) -> float:
    """Seconds until the next attempt after so many in a row that came to nothing: one minute, doubled up to a day."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(num_lost - 1, 20), LONGEST_PAUSE_SECONDS) if num_lost else 0.0


@dataclass(frozen=True)
class Attempt:
    """A retraining that is over. Times in seconds since the epoch."""

    run_id: str
    """Empty: of before attempts were kept."""
    cause: AttemptCause
    started_at: float
    ended_at: float
    outcome: str
    """The gate's verdict, `refused` (all feedback), `over` (elsewhere), or one of LOST."""
    error: str
    model_name: str
    model_version: int
    """0: none was registered."""

    @property
    def is_lost(self) -> bool:
        return self.outcome in LOST


def num_lost_in_a_row(ended: list[Attempt]) -> int:
    """How many of the newest came to nothing, since one that did not; `ended` is oldest first."""
    return next((n for n, one in enumerate(reversed(ended)) if not one.is_lost), len(ended))


class Attempts(OutboxRows):
    """Every method raises LedgerError when the database does not take or give something."""

    # ------------------------------------------------------------ leases

    def lease(self, name: str, *, holder: str, seconds: float) -> bool:
        """Take or renew a lease; False while somebody else holds it. It lapses by itself if its holder dies.

        A retraining holds `retrain.<table>`, so that the relay does not ring for what is being worked on.
        """
        now = self._now()
        row = {"name": name, "holder": holder, "until": now + seconds}
        with self._database.write() as connection:
            if insert_new(connection, leases, [row]):
                return True
            free = (leases.c.name == name) & ((leases.c.holder == holder) | (leases.c.until <= now))
            return connection.execute(update(leases).where(free).values(row)).rowcount == 1

    def renew(self, name: str, *, holder: str, seconds: float) -> bool:
        """Let a lease last from now on, also one that has lapsed; False where it is not `holder`'s any more."""
        mine = (leases.c.name == name) & (leases.c.holder == holder)
        with self._database.write() as connection:
            longer = update(leases).where(mine).values(until=self._now() + seconds)
            return connection.execute(longer).rowcount == 1

    def release(self, name: str, *, holder: str) -> None:
        """Give a lease back; nothing happens when it is not `holder`'s."""
        with self._database.write() as connection:
            connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def is_leased(self, name: str) -> bool:
        return bool(self._all(select(leases.c.name).where(leases.c.name == name, leases.c.until > self._now())))

    def leases(self, prefix: str) -> list[tuple[str, str]]:
        """Name and holder of the leases that begin so and were not given back; they may have lapsed."""
        held = select(leases.c.name, leases.c.holder).order_by(leases.c.name)
        return [(name, holder) for name, holder in self._all(held) if name.startswith(prefix)]

    def pass_on(self, table: str, *, holder: str, to: str) -> None:
        """The claim on a table's feedback, and the attempt that stands for it, are another run's from now on."""
        mine = (leases.c.name == lease_name(table)) & (leases.c.holder == holder)
        with self._database.write() as connection:
            connection.execute(update(leases).where(mine).values(holder=to, until=self._now() + LEASE_SECONDS))
            connection.execute(update(attempts).where(_open(holder)).values(run_id=to))

    # ------------------------------------------------------------ attempts

    def begin_attempt(self, table: str, *, run_id: str, cause: AttemptCause) -> None:
        """Keep that a run retrains; nothing happens where it is known to, or has reached its verdict already."""
        known = select(attempts.c.sequence).where(attempts.c.run_id == run_id, attempts.c.outcome.not_in(LOST))
        row: dict[str, Any] = {"table_name": table, "run_id": run_id, "cause": cause, "started_at": self._now()}
        row |= {"outcome": "", "error": "", "model_name": "", "model_version": 0}
        with self._database.write() as connection:
            if connection.execute(known).first() is None:
                connection.execute(attempts.insert().values(row))

    def end_attempt(self, run_id: str, *, outcome: str, model: ModelRef | None = None) -> None:
        """Keep what the run's attempt has come to; nothing happens where it has none that is open."""
        told = {"ended_at": self._now(), "outcome": outcome}
        if model:
            told |= {"model_name": model.name, "model_version": model.version}
        with self._database.write() as connection:
            connection.execute(update(attempts).where(_open(run_id)).values(told))

    def give_up(self, table: str, *, run_id: str, outcome: Lost | Literal["over"], error: str = "") -> None:
        """End an attempt that came to nothing, and give back its claim.

        One that feedback was the cause of is rung for again by the relay, which sees that it still waits; of any other
        cause nobody would know, and so the table is looked at again after the pause.
        """
        with self._database.write() as connection:
            cause = connection.execute(select(attempts.c.cause).where(_open(run_id))).scalar()
            told = {"ended_at": self._now(), "outcome": outcome, "error": error}
            connection.execute(update(attempts).where(_open(run_id)).values(told))
            mine = (leases.c.name == lease_name(table)) & (leases.c.holder == run_id)
            connection.execute(delete(leases).where(mine))
        if cause not in (None, "feedback", "asked") and outcome in LOST:
            self.look_again(table, at=self._now() + pause_after(num_lost_in_a_row(self.attempts(table))))

    def attempts(self, table: str) -> list[Attempt]:
        """Retrainings of a table that are over, oldest first."""
        names = Attempt.__dataclass_fields__
        query = select(*[attempts.c[name] for name in names]).order_by(attempts.c.ended_at, attempts.c.sequence)
        over = (attempts.c.table_name == table, attempts.c.ended_at.is_not(None))
        return [Attempt(**row._mapping) for row in self._all(query.where(*over))]

    def look_again(self, table: str, *, at: float) -> None:
        """Ring for a table at a time, at most a day ahead; an earlier word for another time gives way."""
        at = min(at, self._now() + LONGEST_WAIT_SECONDS)
        waits = select(outbox.c.sequence, outbox.c.resource).where(
            outbox.c.event == LOOK_AGAIN, outbox.c.delivered_at.is_(None)
        )
        with self._database.write() as connection:
            old = [row.sequence for row in connection.execute(waits) if table_of(row.resource) == table]
            connection.execute(delete(outbox).where(outbox.c.sequence.in_(old)))
            self._ring(connection, LOOK_AGAIN, table, {}, not_before=at)

    def ring(self, event: str, table: str, payload: Mapping[str, Any]) -> None:
        """Leave word for Prefect that something of a table has changed: late where Prefect is down, never lost."""
        with self._database.write() as connection:
            self._ring(connection, event, table, payload)

    def _ring(
        self,
        connection: Connection,
        event: str,
        table: str,
        payload: Mapping[str, Any],
        *,
        not_before: float | None = None,
    ) -> None:
        resource = {"prefect.resource.id": f"banyan.table.{table}", "banyan.table": table}
        self._enqueue(connection, event, resource, payload, not_before=not_before)


def table_of(resource: Mapping[str, str]) -> str:
    """The table that an event is about; empty where it is about something else."""
    return str(resource.get("banyan.table", ""))


def _open(run_id: str) -> Any:
    return (attempts.c.run_id == run_id) & attempts.c.ended_at.is_(None)
