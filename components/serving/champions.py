"""Which model version answers for each table: follows the alias `champion`, and swaps without a gap."""

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar, cast

from components.errors import BanyanError, GatewayUnavailable, NoChampion
from components.ledger.traffic import Split
from components.refs import ModelRef
from components.serving.batching import Batcher, Engine

log = logging.getLogger("banyan.gateway")
LONGEST_PAUSE_SECONDS = 60.0

T = TypeVar("T")


@dataclass
class Arm:
    """A version that answers, or listens, beside the champion."""

    split: Split
    batcher: Batcher | None = None
    problem: str = ""
    """Why it does not answer; the champion does then."""
    num_failures: int = 0
    retry_at: float = 0.0
    loading: "asyncio.Task[None] | None" = field(default=None, repr=False)


@dataclass
class Seat:
    """One table: who answers for it, who is to, and who else."""

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
    arms: dict[str, Arm] = field(default_factory=dict)
    """By kind: canary, shadow, control."""
    previous: Batcher | None = None
    """The champion before, still in memory, so that going back to it takes no loading."""
    previous_until: float = 0.0

    def held(self) -> list[Batcher]:
        """Every model of this table that is in memory for a reason."""
        all_ = [self.batcher, self.previous, *(arm.batcher for arm in self.arms.values())]
        return [one for one in all_ if one is not None]

    def holding(self, ref: ModelRef) -> Batcher | None:
        """The model of that version, if it is in memory."""
        return next((one for one in self.held() if one.engine.ref == ref), None)

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
        standby_seconds: float = 0.0,
        resolve: Callable[[str, int], ModelRef] | None = None,
    ) -> None:
        """`find` gives table → champion, `load` (table, ref) → engine; both block and run in threads.

        Args:
            standby_seconds: how long a champion that was replaced stays in memory.
            resolve: (table, version) → its ref; without it no version can be set beside a champion.
        """
        self._find = find
        self._load = load
        self._poll_seconds = poll_seconds
        self._capacity = capacity
        self._max_batch = max_batch
        self._standby_seconds = standby_seconds
        self.resolve = resolve
        self._find_splits: Callable[[], list[Split]] | None = None
        self._end_split: Callable[[Split], object] = lambda _: None
        self._deciding: set[tuple[str, str]] = set()
        self._num_decided = 0
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

    def pick(self, table: str, who: str | None, *, writes: bool = False) -> Batcher:
        """Who answers a request of `who` (a pseudonym, or None): the champion, or who has a part of its traffic.

        Raises:
            NoChampion, GatewayUnavailable: as `batcher`.
        """
        champion = self.batcher(table)
        for kind in ("control", "canary"):
            arm = self._seats[table].arms.get(kind)
            if arm is None or arm.batcher is None or not arm.split.takes(who):
                continue
            if not writes or arm.batcher.engine.decoder is not None:
                return arm.batcher
        return champion

    def has_arms(self, table: str) -> bool:
        """Whether it matters who asks."""
        seat = self._seats.get(table)
        return seat is not None and bool(seat.arms)

    def shadow(self, table: str) -> Arm | None:
        """Who listens in, if it is in memory."""
        seat = self._seats.get(table)
        arm = seat.arms.get("shadow") if seat else None
        return arm if arm and arm.batcher else None

    def follow(self, find_splits: Callable[[], list[Split]], *, end_split: Callable[[Split], object]) -> None:
        """Ask `find_splits`, too, at every look; a version that became champion has its part no longer (`end_split`).

        Both block and run in threads.
        """
        self._find_splits, self._end_split = find_splits, end_split

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
                if ready := seat.holding(ref):
                    self._swap(seat, ready)
                else:
                    seat.loading = asyncio.create_task(self._seat(seat, ref))
            if seat.previous and time.monotonic() >= seat.previous_until:
                old, seat.previous = seat.previous, None
                self._release(seat, old)
        await self._check_splits()

    async def _check_splits(self) -> None:
        if self._find_splits is None:
            return
        before = self._num_decided
        try:
            found = await aside(self._find_splits)
        except BanyanError as err:  # those that answer now go on answering
            log.warning("traffic: %s", err)
            return
        if self._num_decided != before:  # what was read is older than what was decided meanwhile
            return
        wanted = {(one.table, str(one.kind)): one for one in found}
        for seat in self._seats.values():
            for kind, arm in list(seat.arms.items()):
                split = wanted.get((seat.table, kind))
                if (seat.table, kind) in self._deciding:
                    continue
                if split is None or split.ref != arm.split.ref or split.ref == seat.wanted:
                    self._dismiss(seat, kind)
        for (table, kind), split in wanted.items():
            seat_of = self._seats.get(table)
            if seat_of is None or (table, kind) in self._deciding:
                continue
            if seat_of.wanted != split.ref:
                self._call_in(seat_of, kind, split)
                continue
            try:  # for good: rolled back, it must not come back by this door
                await aside(functools.partial(self._end_split, split))
            except BanyanError as err:
                log.warning("traffic: %s", err)

    def _call_in(self, seat: Seat, kind: str, split: Split) -> None:
        arm = seat.arms.setdefault(kind, Arm(split))
        arm.split = split
        if arm.batcher is None:
            arm.batcher = seat.holding(split.ref)
        if arm.batcher is None and arm.loading is None and time.monotonic() >= arm.retry_at:
            arm.loading = asyncio.create_task(self._load_arm(seat, arm))

    @contextlib.asynccontextmanager
    async def trying(self, table: str, ref: ModelRef, kind: str) -> AsyncIterator[Batcher]:
        """The version in memory, while somebody decides that it gets traffic; let go unless it was installed.

        Raises:
            NoChampion, GatewayUnavailable: as `batcher`.
            Whatever loading raises.
        """
        self.batcher(table)
        self._deciding.add((table, kind))  # so that no look at the ledger loads it, too
        try:
            batcher = self._seats[table].holding(ref)
            if batcher is None:
                async with self._one_load:
                    engine = await aside(lambda: self._load(table, ref))
                batcher = Batcher(engine, capacity=self._capacity, max_batch=self._max_batch)
            try:
                yield batcher
            finally:
                self._release(self._seats.get(table), batcher)
        finally:
            self._num_decided += 1
            self._deciding.discard((table, kind))

    def install(self, split: Split, batcher: Batcher) -> None:
        """From now on it has its part; nothing happens when the table's champion went meanwhile."""
        seat = self._seats.get(split.table)
        if seat is None:
            return
        before = seat.arms.get(split.kind)
        seat.arms[split.kind] = Arm(split, batcher)
        log.info("%s has %g %% of %s as %s", split.ref, split.percent, split.table, split.kind)
        if before and before.batcher:
            self._release(seat, before.batcher)

    async def close(self) -> None:
        """Answer what waits, then let every model go."""
        arms = [arm.loading for seat in self._seats.values() for arm in seat.arms.values() if arm.loading]
        loads = [*arms, *(seat.loading for seat in self._seats.values() if seat.loading)]
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
        log.info("%s was loaded for %s in %.1f s", ref, seat.table, time.monotonic() - started)
        self._swap(seat, Batcher(engine, capacity=self._capacity, max_batch=self._max_batch))

    def _swap(self, seat: Seat, new: Batcher) -> None:
        old, older = seat.batcher, seat.previous
        seat.batcher, seat.previous = new, old if self._standby_seconds else None
        seat.previous_until = time.monotonic() + self._standby_seconds
        seat.since, seat.problem, seat.num_failures = datetime.now(UTC), "", 0
        self.num_swaps += old is not None
        log.info("%s answers for %s", new.engine.ref, seat.table)
        for one in (old, older):
            if one:
                self._release(seat, one)

    async def _load_arm(self, seat: Seat, arm: Arm) -> None:
        ref = arm.split.ref
        try:
            async with self._one_load:
                engine = await aside(lambda: self._load(seat.table, ref))
        except Exception as err:  # blanket: as for a champion; it goes on answering alone
            arm.problem = str(err) if isinstance(err, BanyanError) else f"{type(err).__name__}: {err}"
            arm.num_failures += 1
            arm.retry_at = time.monotonic() + min(2.0**arm.num_failures, LONGEST_PAUSE_SECONDS)
            log.error("%s could not be loaded as %s: %s", ref, arm.split.kind, err)
            return
        finally:
            arm.loading = None
        batcher = Batcher(engine, capacity=self._capacity, max_batch=self._max_batch)
        if seat.arms.get(arm.split.kind) is not arm or arm.batcher is not None:  # ended, or installed meanwhile
            self._drain(batcher)
            return
        arm.batcher, arm.problem, arm.num_failures = batcher, "", 0
        log.info("%s has %g %% of %s as %s", ref, arm.split.percent, seat.table, arm.split.kind)

    def _dismiss(self, seat: Seat, kind: str) -> None:
        arm = seat.arms.pop(kind)
        log.info("%s is no longer the %s of %s", arm.split.ref, kind, seat.table)
        if arm.batcher:
            self._release(seat, arm.batcher)

    def _release(self, seat: Seat | None, batcher: Batcher) -> None:
        if seat is None or not any(one is batcher for one in seat.held()):
            self._drain(batcher)

    async def _unseat(self, seat: Seat) -> None:
        self._seats.pop(seat.table, None)
        seat.wanted = None
        if seat.batcher:
            log.info("%s no longer answers for %s", seat.batcher.engine.ref, seat.table)
        held = seat.held()
        seat.batcher, seat.previous, seat.arms = None, None, {}
        for batcher in {id(one): one for one in held}.values():
            self._drain(batcher)

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
