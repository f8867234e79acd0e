"""A ledger of the first schema, with rows in it, is brought to today's."""

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from components.errors import LedgerError
from components.ledger.database import Database, _engine
from components.ledger.journal import Journal
from components.ledger.keys import KeyRing
from components.ledger.migrations import upgrade as migrations
from components.ledger.schema import SCHEMA_VERSION, cuts, metadata
from components.ledger.store import Ledger
from components.settings import Settings

from .conftest import on_sqlite

FIRST = Path(__file__).with_name("first_schema.sql")
FIRST_ON_POSTGRESQL = Path(__file__).with_name("first_schema_postgresql.sql")


@pytest.fixture
def engine(database, tmp_path):
    (tmp_path / "workspace").mkdir()
    found = sqlalchemy.create_engine(database)
    yield found
    found.dispose()


@pytest.fixture
def old(settings, engine) -> Settings:
    """The settings of an installation whose ledger is of the first schema."""
    if engine.dialect.name == "sqlite":
        with sqlite3.connect(engine.url.database) as database:
            database.executescript(FIRST.read_text("utf-8"))
    else:
        with engine.begin() as connection:
            connection.exec_driver_sql(FIRST_ON_POSTGRESQL.read_text("utf-8"))
    return settings


def schema_version(engine) -> int:
    with engine.connect() as connection:
        return connection.execute(sqlalchemy.text("SELECT value FROM counters WHERE name = 'schema'")).scalar_one()


def test_a_ledger_of_the_first_schema_keeps_its_rows_and_takes_new_ones(old, engine):
    assert schema_version(engine) == 1
    with Ledger(old) as ledger:
        assert [answer.request_id for answer in ledger.answers()] == ["request-2", "request-1", "request-0"]
        assert ledger.answer("request-0").finish_reason is None
        assert [row.correction for row in ledger.feedback()] == [None, "networkx"]
        assert [step.fate for step in ledger.fate_of("feedback-0")] == ["received", "admitted"]
        assert [entry.to_version for entry in ledger.journal() if entry.state == "done"] == [1, 2]
        journal = Journal(ledger, old.workspace)
        journal.head_file.write_text(ledger.journal_rows()[-1].hash)
        assert journal.verify().ok
        assert ledger.record_feedback("feedback-2", request_id="request-2", kind="reject") == 3
        assert [step.fate for step in ledger.fate_of("feedback-2")] == ["received"]
        KeyRing(ledger).create("the shop", role="rater")
    assert schema_version(engine) == SCHEMA_VERSION


def test_retrainings_of_before_are_counted_by_their_cuts(old, engine):
    row = {"table_name": "library", "cut": 2, "at": 99.5, "outcome": "promote"}
    with engine.begin() as connection:
        connection.execute(cuts.insert().values(row | {"model_name": "banyan-library", "model_version": 2}))
    with Ledger(old) as ledger:
        [one] = ledger.attempts("library")
    assert (one.ended_at, one.outcome, one.model_version, one.is_lost) == (99.5, "promote", 2, False)


def test_an_upgraded_ledger_has_the_tables_of_a_new_one(old, database):
    """A table or column that is changed in `schema.py` without a revision fails here."""
    Ledger(old).close()
    with Database(database).read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [change for change in compare_metadata(context, metadata) if "sqlite_" not in str(change)] == []


def test_a_new_ledger_is_of_the_newest_revision(settings, database):
    Ledger(settings).close()
    with Database(database).read() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == str(SCHEMA_VERSION)


def test_many_who_open_an_old_ledger_at_once_upgrade_it_once(old, database):
    opened, failed = [], []

    def open_it() -> None:
        try:
            opened.append(Database(database))
        except LedgerError as err:
            failed.append(err)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(opened), failed) == (6, [])


@on_sqlite
def test_many_who_turn_write_ahead_logging_on_at_once_wait_for_each_other(database, tmp_path):
    failed = []

    def connect(file: Path, start: threading.Barrier) -> None:
        start.wait()
        try:
            _engine(f"sqlite:///{file}").connect().close()
        except sqlalchemy.exc.OperationalError as err:
            failed.append(err)

    for i in range(30):
        with sqlite3.connect(tmp_path / f"{i}.db") as first:
            first.execute("CREATE TABLE numbers (number INTEGER)")
        first.close()
        start = threading.Barrier(6)
        threads = [threading.Thread(target=connect, args=(tmp_path / f"{i}.db", start)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failed == []


def test_an_upgrade_that_fails_leaves_the_ledger_as_it_was(old, engine, monkeypatch):
    real = migrations.upgrade

    def half(connection):
        real(connection)
        raise OSError("the power went")

    monkeypatch.setattr(migrations, "upgrade", half)
    with pytest.raises(LedgerError):
        Ledger(old)
    assert schema_version(engine) == 1
    assert "finish_reason" not in [column["name"] for column in sqlalchemy.inspect(engine).get_columns("answers")]
    monkeypatch.undo()
    Ledger(old).close()  # and the next start brings it up
    assert schema_version(engine) == SCHEMA_VERSION
