"""A ledger of the first schema, with rows in it, is brought to today's."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from components.errors import LedgerError
from components.ledger.database import Database
from components.ledger.journal import Journal
from components.ledger.keys import KeyRing
from components.ledger.migrations import upgrade as migrations
from components.ledger.schema import SCHEMA_VERSION, metadata
from components.ledger.store import Ledger
from components.settings import Settings

from .conftest import on_sqlite

FIRST = Path(__file__).with_name("first_schema.sql")
pytestmark = on_sqlite


@pytest.fixture
def old(settings) -> Settings:
    """The settings of an installation whose ledger is of the first schema."""
    settings.workspace.root.mkdir(parents=True)
    with sqlite3.connect(settings.workspace.ledger) as database:
        database.executescript(FIRST.read_text("utf-8"))
    return settings


def schema_version(settings) -> int:
    with sqlite3.connect(settings.workspace.ledger) as database:
        return database.execute("SELECT value FROM counters WHERE name = 'schema'").fetchone()[0]


def test_a_ledger_of_the_first_schema_keeps_its_rows_and_takes_new_ones(old):
    assert schema_version(old) == 1
    with Ledger(old) as ledger:
        assert [answer.request_id for answer in ledger.answers()] == ["request-2", "request-1", "request-0"]
        assert ledger.answer("request-0").finish_reason is None
        assert [row.correction for row in ledger.feedback()] == [None, "networkx"]
        assert [step.fate for step in ledger.fate_of("feedback-0")] == ["received", "admitted"]
        assert [entry.to_version for entry in ledger.journal() if entry.state == "done"] == [1, 2]
        assert Journal(ledger, old.workspace).verify().ok
        assert ledger.record_feedback("feedback-2", request_id="request-2", kind="reject") == 3
        KeyRing(ledger).create("the shop", role="rater")
    assert schema_version(old) == SCHEMA_VERSION


def test_an_upgraded_ledger_has_the_tables_of_a_new_one(old):
    """A table or column that is changed in `schema.py` without a revision fails here."""
    Ledger(old).close()
    with Database(f"sqlite:///{old.workspace.ledger}").read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [change for change in compare_metadata(context, metadata) if "sqlite_" not in str(change)] == []


def test_a_new_ledger_is_of_the_newest_revision(settings):
    Ledger(settings).close()
    with Database(f"sqlite:///{settings.workspace.ledger}").read() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == str(SCHEMA_VERSION)


def test_many_who_open_an_old_ledger_at_once_upgrade_it_once(old):
    opened, failed = [], []

    def open_it() -> None:
        try:
            opened.append(Database(f"sqlite:///{old.workspace.ledger}"))
        except LedgerError as err:
            failed.append(err)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(opened), failed) == (6, [])


def test_an_upgrade_that_fails_leaves_the_ledger_as_it_was(old, monkeypatch):
    real = migrations.upgrade

    def half(connection):
        real(connection)
        raise OSError("the power went")

    monkeypatch.setattr(migrations, "upgrade", half)
    with pytest.raises(LedgerError):
        Ledger(old)
    assert schema_version(old) == 1
    with sqlite3.connect(old.workspace.ledger) as database:
        assert "finish_reason" not in str(database.execute("SELECT sql FROM sqlite_master").fetchall())
    monkeypatch.undo()
    Ledger(old).close()  # and the next start brings it up
    assert schema_version(old) == SCHEMA_VERSION
