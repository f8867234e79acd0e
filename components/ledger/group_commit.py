"""Threads that write at the same time share one transaction, and so one wait for the disk.

SQLite has one writer. With a transaction each, sixteen threads queue for sixteen syncs; here whoever arrives while
another writes joins its transaction, inside a savepoint of its own, and all are acknowledged by the one commit
(DeWitt et al. 1984, group commit). Nobody waits for a group to fill: a lone writer commits at once.
"""

import contextlib
import threading
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, RootTransaction

MOST_TOGETHER = 64
LOOK_AGAIN_SECONDS = 0.05


class _Group:
    """One transaction and those who wrote in it."""

    def __init__(self, connection: Connection, transaction: RootTransaction) -> None:
        self.connection = connection
        self.transaction = transaction
        self.num_members = 0
        self.committed = threading.Event()
        self.error: BaseException | None = None


class GroupCommit:
    """Transactions of an engine whose connections may move between threads."""

    def __init__(self, engine: Engine, *, most_together: int = MOST_TOGETHER) -> None:
        self._engine = engine
        self._most_together = most_together
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._num_waiting = 0
        self._group: _Group | None = None
        self.num_commits = 0

    @contextlib.contextmanager
    def join(self) -> Iterator[Connection]:
        """Write whole or not at all; what was written is on disk when the block has ended.

        An error in the block undoes this block alone. An error of the commit is raised in every member of the group.
        """
        self._take_turn()
        try:
            group = self._group or self._begin()
            try:
                # Plain statements: SQLAlchemy's begin_nested costs three times as much, a tenth of a row's time.
                group.connection.exec_driver_sql("SAVEPOINT one_writer")
                try:
                    yield group.connection
                except BaseException:
                    group.connection.exec_driver_sql("ROLLBACK TO one_writer")
                    raise
                finally:
                    group.connection.exec_driver_sql("RELEASE one_writer")
                group.num_members += 1
            finally:
                if not self._num_waiting or group.num_members >= self._most_together:
                    self._end(group)
        finally:
            self._turn.release()
        while not group.committed.wait(LOOK_AGAIN_SECONDS):
            # Whoever was to come next may have been interrupted while it waited for its turn.
            if self._turn.acquire(blocking=False):
                try:
                    if self._group is group:
                        self._end(group)
                finally:
                    self._turn.release()
        if group.error is not None:
            raise group.error

    def _take_turn(self) -> None:
        with self._count:
            self._num_waiting += 1
        try:
            self._turn.acquire()
        finally:
            with self._count:
                self._num_waiting -= 1

    def _begin(self) -> _Group:
        connection = self._engine.connect()
        try:
            self._group = _Group(connection, connection.begin())
        except BaseException:
            connection.close()
            raise
        return self._group

    def _end(self, group: _Group) -> None:
        self._group = None
        try:
            group.transaction.commit()
            self.num_commits += 1
        except BaseException as err:
            group.error = err
            group.connection.invalidate()  # what could not be committed must not linger in the pool
        finally:
            group.connection.close()
            group.committed.set()
