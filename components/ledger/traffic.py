"""Who answers beside the champion: a canary, a shadow, or the control arm of a watch; set by somebody, journalled.

A subject is drawn by a hash of its pseudonym, which is keyed: the same subject is always on the same side, nobody
outside can tell who is on which, and whoever reads the ledger later can.
"""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select

from components.errors import UsageError
from components.ledger.journal import Journal
from components.ledger.schema import SplitKind
from components.ledger.store import Ledger
from components.ledger.traffic_tables import shadows, splits
from components.refs import ModelRef
from components.registry import PREFIX
from components.settings import Workspace


@dataclass(frozen=True)
class Split:
    """A version that gets a part of a table's traffic."""

    table: str
    kind: SplitKind
    ref: ModelRef
    percent: float
    at: float
    until: float | None
    """When it lapses by itself, in seconds since the epoch; None: when somebody ends it."""
    actor: str

    def takes(self, who: str | None) -> bool:
        """Whether this version answers, or hears, a request of `who` (a pseudonym; None: nobody in particular).

        Without a subject nothing can be sticky: a canary and a shadow then draw each request anew, and a control arm
        leaves it to the champion, because nothing said of it would count.
        """
        if who is None:
            return self.kind != "control" and 100 * random.random() < self.percent
        return is_drawn(f"{self.kind} {self.ref}", who, percent=self.percent)


@dataclass(frozen=True)
class Shadow:
    """What a challenger would have said. `output` is the masked copy."""

    request_id: str
    at: float
    table: str
    model_name: str
    model_version: int
    output: str
    confidence: float | None
    seconds: float


def is_drawn(salt: str, who: str, *, percent: float) -> bool:
    """Whether `who` is among so many per cent. A larger share holds all whom a smaller one held."""
    drawn = int.from_bytes(hashlib.sha256(f"{salt} {who}".encode()).digest()[:8], "big")
    return 100 * drawn < percent * 2**64


class Traffic:
    """The splits of an installation. Every method raises LedgerError when the database does not take or give them."""

    def __init__(self, ledger: Ledger, workspace: Workspace) -> None:
        self._ledger = ledger
        self._journal = Journal(ledger, workspace)

    def splits(self, table: str | None = None) -> list[Split]:
        """Those in force, by table and kind."""
        query = select(splits).order_by(splits.c.table_name, splits.c.kind)
        now = self._ledger.now()
        with self._ledger.database.read() as connection:
            rows = connection.execute(query).all()
        found = [
            Split(
                row.table_name,
                row.kind,
                ModelRef(
                    name=row.model_name,
                    version=row.model_version,
                    run_id=row.run_id,
                    weights_sha256=row.weights_sha256,
                ),
                row.percent,
                row.at,
                row.until,
                row.actor,
            )
            for row in rows
        ]
        return [one for one in found if (one.until or now + 1) > now and table in (None, one.table)]

    def set(
        self,
        ref: ModelRef,
        *,
        kind: SplitKind,
        percent: float,
        actor: str,
        until: float | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Split:
        """Give a version its part of the traffic of the table it is named for, in place of what had that part.

        Raises:
            UsageError: `percent` is not above 0 and at most 100.
        """
        if not 0 < percent <= 100:
            raise UsageError(f"{percent} per cent is no part of the traffic", "--percent is above 0 and at most 100")
        table = ref.name.removeprefix(PREFIX)
        split = Split(table, kind, ref, percent, self._ledger.now(), until, actor)
        row = {"table_name": table, "kind": kind, "model_name": ref.name, "model_version": ref.version}
        row |= {"run_id": ref.run_id, "weights_sha256": ref.weights_sha256, "percent": percent}
        row |= {"at": split.at, "until": until, "actor": actor}

        def write(connection: Connection) -> None:
            connection.execute(delete(splits).where(splits.c.table_name == table, splits.c.kind == kind))
            connection.execute(splits.insert(), row)

        known = {"percent": percent, "until": until, **(evidence or {})}
        self._journal.split(ref, kind=kind, action=kind, actor=actor, evidence=known, beside=write)
        return split

    def end(
        self, table: str, kind: SplitKind, *, actor: str, evidence: Mapping[str, Any] | None = None
    ) -> ModelRef | None:
        """Leave all to the champion again; the version that had a part, or None."""
        query = select(splits).where(splits.c.table_name == table, splits.c.kind == kind)
        with self._ledger.database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        ref = ModelRef(
            name=row.model_name, version=row.model_version, run_id=row.run_id, weights_sha256=row.weights_sha256
        )

        def write(connection: Connection) -> None:
            mine = (splits.c.table_name == table) & (splits.c.kind == kind)
            connection.execute(delete(splits).where(mine))

        self._journal.split(ref, kind=kind, action="off", actor=actor, evidence=evidence or {}, beside=write)
        return ref

    # ------------------------------------------------------------ shadows

    def record_shadow(
        self, request_id: str, *, table: str, model: ModelRef, output: str, confidence: float | None, seconds: float
    ) -> None:
        """Keep what a challenger would have said to a request that is in the ledger; masked, once."""
        (masked,) = self._ledger.masked([output])
        row = {"request_id": request_id, "at": self._ledger.now(), "table_name": table, "model_name": model.name}
        row |= {"model_version": model.version, "weights_sha256": model.weights_sha256, "output": masked}
        with self._ledger.database.write() as connection:
            mine = (shadows.c.request_id == request_id) & (shadows.c.model_name == model.name)
            mine &= shadows.c.model_version == model.version
            if connection.execute(select(shadows.c.sequence).where(mine)).first() is None:
                connection.execute(shadows.insert(), row | {"confidence": confidence, "seconds": seconds})

    def shadows(self, table: str, *, limit: int = 100) -> list[Shadow]:
        """The newest, newest first."""
        query = select(shadows).where(shadows.c.table_name == table)
        with self._ledger.database.read() as connection:
            rows = connection.execute(query.order_by(shadows.c.sequence.desc()).limit(limit)).all()
        return [
            Shadow(
                row.request_id,
                row.at,
                row.table_name,
                row.model_name,
                row.model_version,
                row.output,
                row.confidence,
                row.seconds,
            )
            for row in rows
        ]
