"""How a ledger's database is opened: one place that knows SQLite from PostgreSQL."""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, create_engine, event, inspect, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from components.errors import LedgerError
from components.ledger import traffic_tables  # noqa: F401  # so that `metadata` holds them
from components.ledger.group_commit import GroupCommit
from components.ledger.schema import SCHEMA_VERSION, counters, metadata

BUSY_SECONDS = 30.0
_TAKE = (
    update(counters)
    .where(counters.c.name == bindparam("counter"))
    .values(value=counters.c.value + 1)
    .returning(counters.c.value)
)
_SCHEMA_LOCK = 0x62616E79  # any constant will do: "bany"


class Database:
    """Connections to the ledger's database; threads may share one, processes may not."""

    def __init__(self, url: str) -> None:
        """Open `url`, make what is missing and upgrade what is older; several processes may do so at once.

        Raises:
            LedgerError: the URL is not one, the database cannot be reached, or it is of a later schema version.
        """
        with _translated(f"the ledger at {_shown(url)} cannot be opened"):
            self._engine = _engine(url)
            self._writer = self._engine.execution_options(banyan_write=True)
            self.is_sqlite = self._engine.dialect.name == "sqlite"
            with self._writer.begin() as connection:  # on SQLite BEGIN IMMEDIATE: one process at a time comes in here
                if not self.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
                found = _prepare_schema(connection)
        if found > SCHEMA_VERSION:
            raise LedgerError(
                f"the ledger at {_shown(url)} has schema version {found}; this Banyan reads {SCHEMA_VERSION}",
                "use the Banyan that wrote it, or another workspace",
            )
        self._groups = GroupCommit(self._writer) if self.is_sqlite else None

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: whole and on disk when the block has ended, or not at all.

        Raises:
            LedgerError: the database did not take it.
        """
        begun = self._groups.join() if self._groups else self._writer.begin()
        with _translated("the ledger could not be written"), begun as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads one consistent state.

        Raises:
            LedgerError: the database did not answer.
        """
        with _translated("the ledger could not be read"), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        """Only one holder of `name` among all machines that share a PostgreSQL; nothing on SQLite, which is local."""
        if self.is_sqlite:
            yield
            return
        key = {"key": int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)}
        with contextlib.ExitStack() as held:
            with _translated(f"the lock {name} could not be taken"):
                connection = held.enter_context(self._engine.connect())
                connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
            try:
                yield
            finally:
                with _translated(f"the lock {name} could not be given back"):
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)

    def scrub(self) -> None:
        """Make deleted content leave the files too: SQLite keeps it in the write-ahead log until a checkpoint."""
        if self.is_sqlite:
            with _translated("the ledger's log could not be emptied"), self._engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._engine.dispose()


def next_value(connection: Connection, name: str) -> int:
    """The counter's next value. Whoever took it holds the counter until the transaction ends (see `counters`)."""
    return int(connection.execute(_TAKE, {"counter": name}).scalar_one())


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that are not there yet, by the table's unique constraints; how many."""
    if not rows:
        return 0
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    key = next(iter(table.primary_key))
    statement = make(table).on_conflict_do_nothing().returning(key)  # the rowcount is not to be trusted: psycopg has -1
    return sum(len(connection.execute(statement, dict(row)).all()) for row in rows)


def _prepare_schema(connection: Connection) -> int:
    """Make the tables, or bring those of an earlier schema up; the schema version that the ledger has now."""
    if not inspect(connection).has_table(counters.name):
        metadata.create_all(connection)
        start = {"schema": SCHEMA_VERSION, "feedback": 0, "journal": 0}
        connection.execute(counters.insert(), [{"name": name, "value": value} for name, value in start.items()])
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:now)"), {"now": str(SCHEMA_VERSION)})
        return SCHEMA_VERSION
    found = int(connection.execute(select(counters.c.value).where(counters.c.name == "schema")).scalar_one())
    if found >= SCHEMA_VERSION:
        return found
    from components.ledger.migrations.upgrade import upgrade

    upgrade(connection)
    return SCHEMA_VERSION


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # A connection may move between threads, one at a time: a group's members write on the same one.
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late; ours is below
        _write_ahead(connection)
        for pragma in (
            "synchronous=FULL",  # in WAL mode NORMAL may lose acknowledged rows when the power fails
            "foreign_keys=ON",
            "secure_delete=ON",  # what the retention deletes is overwritten
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A reader that turns writer may find the database changed and fail at once: writers say so from the start.
        immediate = connection.get_execution_options().get("banyan_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn WAL mode on. Of several that do so first at once, SQLite tells some "database is locked" without waiting."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ArgumentError, NoSuchModuleError, ImportError, OSError) as err:
        # `orig` is the driver's message; SQLAlchemy's own would quote the parameters: people's words.
        reason = str(getattr(err, "orig", None) or type(err).__name__).strip().split("\n")[0]
        raise LedgerError(
            f"{what}: {reason}", "banyan doctor tells whether the workspace and BANYAN_LEDGER_URL work"
        ) from err


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the given URL"
