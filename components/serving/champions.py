"""Which model version answers for each table: follows the alias `champion`, and swaps without a gap."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar, cast

from components.errors import BanyanError, GatewayUnavailable, NoChampion
from components.refs import ModelRef
from components.serving.batching import Batcher, Engine

log = logging.getLogger("banyan.gateway")
LONGEST_PAUSE_SECONDS = 60.0

T = TypeVar("T")


@dataclass
class Seat:
    """One table: who answers for it, and who is to."""

    table: str
    wanted: ModelRef | None = None
    batcher: Batcher | None = None
    since: datetime | None = None
    """When the present version took over (UTC)."""
    problem: str = ""
    """Why the wanted version does not answer."""
    num_failures: int = 0
    retry_at: float = 0.0
    loading: "asyncio.Task[None] | None" = field(default=None, repr=False)

    @property
    def state(self) -> str:
        """`ready`, `loading`, `swapping` (the old version answers until the new one is loaded),

        `stale` (the new one could not be loaded, the old one answers on), `failed` (nobody answers).
        """
        if self.batcher is None:
            return "failed" if self.problem else "loading"
        if self.batcher.engine.ref == self.wanted:
            return "ready"
        return "stale" if self.problem else "swapping"


class Champions:
    """Follows the registry's aliases. Every method but `find` and `load` runs on the event loop,

    so a request that has been given a batcher has also been queued in it before a swap can happen:
    each answer is wholly of one version, and the old version leaves after its last answer.
    """

    def __init__(
        self,
        *,
        find: Callable[[], dict[str, ModelRef]],
        load: Callable[[str, ModelRef], Engine],
        poll_seconds: float = 1.0,
        capacity: int = 256,
        max_batch: int = 16,
    ) -> None:
        """`find` gives table → champion, `load` (table, ref) → engine; both block and run in threads."""
        self._find = find
        self._load = load
        self._poll_seconds = poll_seconds
        self._capacity = capacity
        self._max_batch = max_batch
        self._seats: dict[str, Seat] = {}
        self._registry_problem: str | None = "the registry has not been asked yet"
        self._one_load = asyncio.Lock()  # two at a time would double the peak of memory
        self._drains: set[asyncio.Task[None]] = set()
        self.num_swaps = 0

    @property
    def registry_problem(self) -> str | None:
        """Why the registry could not be read last time, or None."""
        return self._registry_problem

    def seats(self) -> list[Seat]:
        return sorted(self._seats.values(), key=lambda seat: seat.table)

    def batcher(self, table: str) -> Batcher:
        """Who answers for `table` now.

        Raises:
            NoChampion: nothing has passed the gate, or the table is not known.
            GatewayUnavailable: there is a champion, but it does not answer (yet).
        """
        seat = self._seats.get(table)
        if seat and seat.batcher:
            return seat.batcher
        if seat and seat.problem:
            raise GatewayUnavailable(f"{seat.wanted} could not be loaded: {seat.problem}", "see the gateway's log")
        if seat and seat.wanted:
            raise GatewayUnavailable(f"{seat.wanted} is being loaded", "try again in a few seconds")
        if self._registry_problem:
            raise GatewayUnavailable(f"no model is known: {self._registry_problem}", "banyan status")
        raise NoChampion(
            f"there is no champion for {table!r}: no version of it has passed the gate",
            f"banyan train a recipe whose table is {table}, then look at the verdict on the dashboard",
        )

    async def watch(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(self._poll_seconds)

    async def check(self) -> None:
        """One look at the registry; starts what is to be loaded, unseats what lost its alias."""
        try:
            found = await aside(self._find)
        except BanyanError as err:  # whoever answers now goes on answering
            if self._registry_problem != str(err):
                log.warning("registry: %s", err)
            self._registry_problem = str(err)
            return
        self._registry_problem = None
        for table in self._seats.keys() - found.keys():
            await self._unseat(self._seats[table])
        for table, ref in found.items():
            seat = self._seats.setdefault(table, Seat(table))
            if seat.wanted != ref:
                seat.wanted, seat.problem, seat.num_failures, seat.retry_at = ref, "", 0, 0.0
            current = seat.batcher.engine.ref if seat.batcher else None
            if current != ref and seat.loading is None and time.monotonic() >= seat.retry_at:
                seat.loading = asyncio.create_task(self._seat(seat, ref))

    async def close(self) -> None:
        """Answer what waits, then let every model go."""
        loads = [seat.loading for seat in self._seats.values() if seat.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        for seat in list(self._seats.values()):
            await self._unseat(seat)
        await asyncio.gather(*self._drains)

    async def _seat(self, seat: Seat, ref: ModelRef) -> None:
        started = time.monotonic()
        try:
            async with self._one_load:
                engine = await aside(lambda: self._load(seat.table, ref))
        except Exception as err:  # blanket: a folder of weights can fail in any way, and the old version goes on
            if seat.wanted == ref:
                seat.problem = str(err) if isinstance(err, BanyanError) else f"{type(err).__name__}: {err}"
                seat.num_failures += 1
                seat.retry_at = time.monotonic() + min(2.0**seat.num_failures, LONGEST_PAUSE_SECONDS)
            log.error("%s could not be loaded: %s", ref, err, exc_info=not isinstance(err, BanyanError))
            return
        finally:
            seat.loading = None
        if seat.wanted != ref:  # the alias moved on while this was loading
            return
        old = seat.batcher
        seat.batcher = Batcher(engine, capacity=self._capacity, max_batch=self._max_batch)  # the swap
        seat.since, seat.problem, seat.num_failures = datetime.now(UTC), "", 0
        self.num_swaps += old is not None
        log.info("%s answers for %s after %.1f s of loading", ref, seat.table, time.monotonic() - started)
        if old:
            self._drain(old)

    async def _unseat(self, seat: Seat) -> None:
        self._seats.pop(seat.table, None)
        seat.wanted = None
        if seat.batcher:
            log.info("%s no longer answers for %s", seat.batcher.engine.ref, seat.table)
            self._drain(seat.batcher)

    def _drain(self, batcher: Batcher) -> None:
        # No gc.collect() afterwards: weights go with their last reference (tried with both heads), and a full
        # collection beside torch's half a million objects stops every thread for 0.2 s.
        task = asyncio.create_task(aside(batcher.close))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)


async def aside(call: Callable[[], T]) -> T:
    """`call()` in a thread of its own, which the process does not wait for at its end.

    An executor's threads are joined by the interpreter: a registry that hangs would keep a stopped gateway alive.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, err: BaseException | None) -> None:
        if future.done():  # cancelled meanwhile
            return
        if err is None:
            future.set_result(cast(T, result))
        else:
            future.set_exception(err)

    def work() -> None:
        result, err = None, None
        try:
            result = call()
        except BaseException as raised:  # handed on to whoever waits
            err = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, err)

    threading.Thread(target=work, daemon=True).start()
    return await future


@contextlib.asynccontextmanager
async def watching(champions: Champions) -> AsyncIterator[Champions]:
    """Follow the aliases while the block runs; drain at its end."""
    watcher = asyncio.create_task(champions.watch())
    try:
        yield champions
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        await champions.close()
