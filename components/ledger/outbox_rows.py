"""The outbox as the ledger keeps it: what others must learn, in a lane for each of them.

A lane that does not move holds up no other: Prefect's events are few and small, MLflow's traces many.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, select, update

from components.ledger.database import Database
from components.ledger.queries import LedgerQueries
from components.ledger.schema import Destination, OutboxRow, outbox

_ADD_EVENT = outbox.insert()
LONGEST_WAIT_SECONDS = 86_400.0
"""Nothing in the outbox waits longer for its next attempt."""


class OutboxRows(LedgerQueries):
    """What waits to be told. Every method raises LedgerError when the database does not take or give something."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time, trace_share: float = 1.0) -> None:
        """`trace_share`: of the answers, those that MLflow is told of, and of the feedback on them."""
        super().__init__(database)
        self._now = clock
        self._trace_share = trace_share

    def undelivered(self, *, limit: int = 100, to: Destination = "prefect") -> list[OutboxRow]:
        """What is due to be delivered now, oldest first."""
        # What was never tried is always due, and so is what waits too long: their times lie ahead where the clock was
        # set back.
        now, at = self._now(), outbox.c.next_attempt_at
        due = (at <= now) | (outbox.c.num_attempts == 0) | (at > now + LONGEST_WAIT_SECONDS)
        mine = outbox.c.delivered_at.is_(None) & (outbox.c.destination == to)
        columns = [outbox.c[name] for name in OutboxRow.__dataclass_fields__]
        query = select(*columns).where(mine, due).order_by(outbox.c.sequence).limit(limit)
        return [OutboxRow(**row._mapping) for row in self._all(query)]

    def num_undelivered(self, *, to: Destination = "prefect") -> int:
        """How much waits in a lane of the outbox, due or not."""
        mine = outbox.c.delivered_at.is_(None) & (outbox.c.destination == to)
        return int(self._all(select(func.count()).select_from(outbox).where(mine))[0][0])

    def mark_delivered(self, rows: Sequence[OutboxRow]) -> None:
        with self._database.write() as connection:
            mine = outbox.c.sequence.in_([row.sequence for row in rows])
            connection.execute(update(outbox).where(mine).values(delivered_at=self._now(), last_error=None))

    def mark_failed(self, rows: Sequence[OutboxRow], *, error: str, retry_in_seconds: float) -> None:
        with self._database.write() as connection:
            mine = outbox.c.sequence.in_([row.sequence for row in rows])
            again = {"last_error": error, "next_attempt_at": self._now() + retry_in_seconds}
            connection.execute(update(outbox).where(mine).values(num_attempts=outbox.c.num_attempts + 1, **again))

    def prune_outbox(self, *, days: float = 7.0) -> int:
        """Forget what was delivered more than `days` ago; how many rows."""
        with self._database.write() as connection:
            old = delete(outbox).where(outbox.c.delivered_at < self._now() - days * 86_400)
            return connection.execute(old).rowcount

    def _enqueue(
        self,
        connection: Connection,
        event: str,
        resource: Mapping[str, str],
        payload: Mapping[str, Any],
        *,
        destination: Destination = "prefect",
        not_before: float | None = None,
    ) -> None:
        at = self._now()
        row = {"event_id": str(uuid.uuid4()), "at": at, "event": event, "destination": destination}
        # What waits for a time counts as tried: what never was is due at once (`undelivered`).
        row |= {"num_attempts": int(not_before is not None), "next_attempt_at": not_before or at}
        connection.execute(_ADD_EVENT, row | {"resource": dict(resource), "payload": dict(payload)})

    def _mirror(
        self, connection: Connection, what: Literal["trace", "assessment"], request_id: str, payload: Mapping[str, Any]
    ) -> None:
        """Leave word for MLflow, by ids alone: the relay reads the masked copies when it tells them."""
        if not is_traced(request_id, self._trace_share):
            return
        resource = {"prefect.resource.id": f"banyan.request.{request_id}"}
        self._enqueue(connection, f"mlflow.{what}", resource, payload, destination="mlflow")


def is_traced(request_id: str, share: float) -> bool:
    """Whether MLflow is told of an answer: the same for the answer and for all feedback on it."""
    drawn = int.from_bytes(hashlib.sha256(f"trace {request_id}".encode()).digest()[:8], "big")
    return drawn < share * 2**64
