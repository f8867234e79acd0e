"""Prefect's server, with one freeze of it on SQLite taken out. Run it as `python -m flows.server server start …`.

Measured with prefect 3.8.8 on Python 3.11.7: after a client is killed in the middle of a request (`kill -9` of a flow
run), about one time in thirty the whole server stands still for 60 s. The cancelled request leaves an open cursor.
Later Python's garbage collector, holding the interpreter's lock in the main thread, resets that cursor's statement,
which needs the mutex of its connection; the connection's own thread has it, waiting for SQLite's write lock; and
whoever holds that waits for the interpreter. Prefect's busy timeout of 60 s ends it.

So a cursor is kept alive until its connection's own thread has closed it, and the collector never meets an open one.
"""

import runpy

import aiosqlite


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


if __name__ == "__main__":
    keep_open_cursors()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
