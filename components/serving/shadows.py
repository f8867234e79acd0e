"""A shadow hears what the champion was asked, once that is answered, and what it says is kept and shown to nobody."""

import asyncio
import logging
import time
from queue import Full
from typing import TYPE_CHECKING

from components.errors import BanyanError
from components.ledger.traffic import Traffic
from components.refs import ModelRef

if TYPE_CHECKING:
    from components.serving.gateway import Gateway
    from components.tasks.base import Answer

log = logging.getLogger("banyan.gateway")

MOST_WAITING = 32
"""Requests that a shadow may be behind; more are not heard, and counted as `dropped`."""


class Shadows:
    """Runs on the event loop; the model runs in a thread of its own.

    Not at a lower priority than the champion's: a thread that the system puts aside while it holds the interpreter's
    lock would stop every other one.
    """

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, table: str, text: str, request_id: str, answered_by: ModelRef) -> None:
        """Called when an answer is durable; returns at once."""
        arm = self._gateway.champions.shadow(table)
        if arm is None or arm.batcher is None or arm.split.ref == answered_by or not arm.split.takes(None):
            return
        try:
            if len(self._tasks) >= MOST_WAITING:
                raise Full
            coming = asyncio.wrap_future(arm.batcher.submit(text))
        except (Full, RuntimeError):  # RuntimeError: it was let go just now
            self._gateway.metrics.shadows.labels(table, "dropped").inc()
            return
        task = asyncio.create_task(self._keep(table, request_id, arm.split.ref, coming))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Keep what is on its way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, table: str, request_id: str, ref: ModelRef, coming: "asyncio.Future[Answer]") -> None:
        started = time.perf_counter()
        try:
            said = await coming
            seconds = time.perf_counter() - started
            await self._gateway.on_ledger(
                lambda ledger: Traffic(ledger, self._gateway.settings.workspace).record_shadow(
                    request_id,
                    table=table,
                    model=ref,
                    output=said.output,
                    confidence=said.confidence,
                    seconds=seconds,
                )
            )
        except Exception as err:  # blanket: whatever a challenger does, nobody waits for it
            self._gateway.metrics.shadows.labels(table, "failed").inc()
            # Not the message: an engine's may quote the input.
            log.warning("shadow %s: %s", ref, err if isinstance(err, BanyanError) else type(err).__name__)
        else:
            self._gateway.metrics.shadows.labels(table, "kept").inc()
