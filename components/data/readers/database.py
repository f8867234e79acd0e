"""A SQL query's rows, read-only; the password comes from the environment and is shown nowhere."""

import os
import re
import sqlite3
import urllib.parse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.readers.kinds import RawRow, RawTable
from components.errors import InputFileError, MappingError, SourceUnreachable

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection

_READS = re.compile(r"\A(?:\s|--[^\n]*\n|/\*.*?\*/)*(select|with|values|table)\b", re.IGNORECASE | re.DOTALL)
_READ_ONLY = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}
"""Dialect → what makes the database itself refuse to write; others get the check of the first word and a rollback."""


def read_query(database: str, query: str, *, password_env: str | None, timeout_seconds: float) -> RawTable:
    """The rows of `query`; all are read at once, before the first is given.

    Raises:
        SourceUnreachable: the database does not answer.
        InputFileError: the query is none that reads, or the database refuses it.
        MappingError: a column that is there twice.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

    if not _READS.match(query):
        raise InputFileError("the query is none that only reads", "begin it with SELECT, WITH or VALUES")
    url = _url(database, password_env)
    where = url.render_as_string(hide_password=True)
    try:
        engine = _engine(url, timeout_seconds)
        with engine.connect() as connection, connection.begin() as transaction:
            _forbid_writing(connection)
            result = connection.execute(text(query.replace(":", r"\:")))
            names = list(result.keys())
            found = [tuple(row) for row in result]
            transaction.rollback()
        engine.dispose()
    except OperationalError as err:
        cls = InputFileError if url.get_backend_name() == "sqlite" else SourceUnreachable
        raise cls(f"{where}: {_reason(err, url)}", "check the address, the query and the rights") from None
    except (DBAPIError, SQLAlchemyError, ImportError, OSError, UnicodeError) as err:
        raise InputFileError(
            f"{where}: {_reason(err, url)}", "check the query, and that its driver is installed"
        ) from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MappingError(f"the query gives the column {twice[0]!r} more than once", "rename one of them with AS")

    def rows(wanted: Collection[str], /) -> Iterator[RawRow]:
        places = [(place, name) for place, name in enumerate(names) if name in wanted]
        for row in found:
            yield {name: row[place] for place, name in places}

    return RawTable(names, rows)


def _url(database: str, password_env: str | None) -> "URL":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(database)
    except ArgumentError as err:
        raise InputFileError("the address is none of a database", "for example: postgresql://ann@host/shop") from err
    if password_env:
        if password_env not in os.environ:
            raise InputFileError(
                f"the environment has no {password_env}, which is to hold the password",
                "set it where the ingest runs, before banyan up",
            )
        url = url.set(password=os.environ[password_env])
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise InputFileError(f"there is no file {url.database}", "check the path: sqlite:////absolute/path.db")
    return url


def _engine(url: "URL", timeout_seconds: float) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    if url.get_backend_name() != "sqlite":
        known = {"connect_timeout": max(1, int(timeout_seconds))}
        by_us = url.get_backend_name() in {"postgresql", "mysql", "mariadb"}
        return create_engine(url, poolclass=NullPool, connect_args=known if by_us else {}, hide_parameters=True)
    path = urllib.parse.quote(str(Path(url.database or "").absolute()))
    return create_engine(
        "sqlite://",
        poolclass=NullPool,
        creator=lambda: sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=timeout_seconds),
    )


def _forbid_writing(connection: "Connection") -> None:
    command = _READ_ONLY.get(connection.dialect.name)
    if command:
        connection.exec_driver_sql(command)


def _reason(err: BaseException, url: "URL") -> str:
    """The driver's own words, in one line; a driver may repeat the password."""
    words = " ".join(str(getattr(err, "orig", None) or err).split())
    return words.replace(str(url.password), "***") if url.password else words
