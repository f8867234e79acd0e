"""Requests that got no answer for a reason of the gateway's own: counted by the second, and kept in the ledger.

One row a second and kind at most, so that a gateway in need is not burdened further. Whoever was cut off because the
gateway itself was killed is counted by nobody.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from components.errors import LedgerError

if TYPE_CHECKING:
    from components.ledger.store import Ledger

KEEP_EVERY_SECONDS = 1.0
MOST_WAITING = 10_000
"""Counts that wait for a ledger that takes nothing; older ones stay, newer ones are let go."""


class Failures:
    """Runs on the event loop."""

    def __init__(self, on_ledger: "Callable[[Callable[[Ledger], None]], Awaitable[None]]") -> None:
        self._on_ledger = on_ledger
        self._waiting: Counter[tuple[float, str, str]] = Counter()
        self._task: asyncio.Task[None] | None = None

    def count(self, table: str, err: Exception) -> None:
        """Called where a request has failed; returns at once."""
        at = (float(int(time.time())), table, type(err).__name__)
        if at in self._waiting or len(self._waiting) < MOST_WAITING:
            self._waiting[at] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._soon())

    async def close(self) -> None:
        """Keep what is not kept yet."""
        if self._task is not None:
            self._task.cancel()
        await self._keep()

    async def _soon(self) -> None:
        while self._waiting:
            await asyncio.sleep(KEEP_EVERY_SECONDS)
            await self._keep()

    async def _keep(self) -> None:
        taken, self._waiting = self._waiting, Counter()
        if not taken:
            return
        try:
            await self._on_ledger(lambda ledger: ledger.record_failures(taken))
        except LedgerError:
            self._waiting.update(taken)  # the next time
