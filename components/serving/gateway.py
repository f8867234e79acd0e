"""What the gateway's routes share: asking, writing, and the ledger that comes before every answer."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from queue import Full
from typing import TypeVar

from fastapi import FastAPI
from pydantic import JsonValue

from components.errors import GatewayUnavailable, LedgerError
from components.ledger.keys import KeyRing
from components.ledger.schema import FinishReason, Key
from components.ledger.store import Ledger
from components.ledger.traffic import Split, Traffic
from components.serving import problems
from components.serving.auth import Door
from components.serving.batching import Batcher, Engine
from components.serving.champions import Champions, watching
from components.serving.decoding import Draft, Sampling, Written
from components.serving.failures import Failures
from components.serving.messages import MAX_INPUT_CHARS
from components.serving.metrics import Metrics
from components.serving.receipts import Receipt, issue
from components.serving.shadows import Shadows
from components.settings import Settings
from components.tasks.base import Answer

log = logging.getLogger("banyan.gateway")

ANSWER_SECONDS = 60.0
WRITE_SECONDS = 300.0
MOST_WRITINGS = 512
"""Streams that are open at once, those among them whose reader dawdles over what has long been written."""
LEDGER_THREADS = 32
"""They mostly wait: those that write at once share one sync."""

T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """An answer that is in the ledger."""

    receipt: Receipt
    answer: Answer
    finish_reason: FinishReason = "stop"
    num_prompt_tokens: int = 0
    num_tokens: int = 0


class Gateway:
    """Champions, ledger, metrics and the door, for as long as the application runs."""

    def __init__(self, settings: Settings, champions: Champions, ledger: Ledger | None, metrics: Metrics) -> None:
        self.settings = settings
        self.champions = champions
        self.metrics = metrics
        self.door = Door(
            settings,
            read_keys=self._read_keys,
            refused=self.refused,
        )
        self.shadows = Shadows(self)
        self.failures = Failures(self.on_ledger)
        self.writings: set[Writing] = set()
        self._ledger, self._was_given = ledger, ledger is not None
        self._threads = ThreadPoolExecutor(LEDGER_THREADS, "ledger")
        self._opening = threading.Lock()

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Open the ledger, follow the champions; at the end, keep what is still being written."""
        try:
            await self.on_ledger(lambda _: None)  # opened now: the first request should not pay for it
        except LedgerError as err:
            log.error("%s", err)  # each request tries again, and says 503 until it works
        self.champions.follow(lambda: self.traffic().splits(), end_split=self._became_champion)
        async with watching(self.champions):
            yield
        await self.shadows.close()
        await self.failures.close()
        await asyncio.gather(*(writing.said for writing in self.writings), return_exceptions=True)
        self._threads.shutdown()
        if self._ledger is not None and not self._was_given:
            self._ledger.close()

    @contextmanager
    def counting_failures(self, table: str) -> Iterator[None]:
        """Around a whole request to a table: whatever ends it in an error is counted once, and goes on its way."""
        try:
            yield
        except Exception as err:
            known = {seat.table for seat in self.champions.seats()}
            if table in known:  # a label for every misspelt table would grow without bound
                self.failed(table, err)
            raise

    def refused(self, method: str, route: str, reason: str) -> None:
        """A request that was not taken: logged without what was sent, and counted."""
        self.metrics.refusals.labels(reason).inc()
        log.warning("refused %s %s: %s", method, route, reason)

    def failed(self, table: str, err: Exception) -> None:
        """Counts a request that ended so: among the metrics, and in the ledger where the fault is ours."""
        self.metrics.requests.labels(table, type(err).__name__).inc()
        if problems.is_ours(err):
            self.failures.count(table, err)

    def traffic(self) -> Traffic:
        """The splits; blocks."""
        return Traffic(self._open(), self.settings.workspace)

    def _became_champion(self, split: Split) -> None:
        self.traffic().end(
            split.table, split.kind, actor="gateway", evidence={"reason": f"{split.ref} became champion"}
        )

    async def on_ledger(self, call: Callable[[Ledger], T]) -> T:
        """`call(ledger)` in a thread. Raises LedgerError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(self._open()))

    async def ask(self, table: str, text: str, *, subject: str | None) -> Said:
        """One whole answer, durable.

        Raises:
            NoChampion: nothing has passed the gate for this table.
            GatewayUnavailable: the champion does not answer.
            LedgerError: the answer could not be kept, so it is not given.
        """
        check_length(text)
        started = time.perf_counter()
        batcher = self.champions.pick(table, await self.who(table, subject))
        engine = batcher.engine
        answer = await self.in_time(batcher.engine, asyncio.wrap_future(batcher.submit(text)))
        receipt = receipt_of(engine)
        await self.keep(receipt, engine, table, text, answer, subject, seconds=time.perf_counter() - started)
        return Said(receipt, answer)

    async def who(self, table: str, subject: str | None) -> str | None:
        """The subject's pseudonym, where it matters who asks. Raises LedgerError."""
        if subject is None or not self.champions.has_arms(table):
            return None
        return await self.on_ledger(lambda ledger: ledger.pseudonym(subject))

    def write(
        self, table: str, text: str, sampling: Sampling, *, subject: str | None, who: str | None = None
    ) -> "Writing":
        """An answer that is told piece by piece, and kept when it has ended.

        Raises:
            queue.Full: too many are open or wait already.
            NoChampion: nothing has passed the gate for this table.
            GatewayUnavailable: the champion does not answer.
        """
        check_length(text)
        if len(self.writings) >= MOST_WRITINGS:
            raise Full
        return Writing(self, table, self.champions.pick(table, who, writes=True), text, sampling, subject)

    async def keep(
        self,
        receipt: Receipt,
        engine: Engine,
        table: str,
        text: str,
        answer: Answer,
        subject: str | None,
        *,
        seconds: float,
        finish_reason: FinishReason | None = None,
    ) -> None:
        """Make an answer durable. Raises LedgerError."""
        await self.on_ledger(
            lambda ledger: ledger.record_answer(
                request_id=receipt.request_id,
                table=table,
                model=engine.ref,
                template_sha256=receipt.template_sha256,
                generation=receipt.generation,
                text=text,
                output=answer.output,
                confidence=answer.confidence,
                alternatives=answer.alternatives,
                subject=subject,
                seconds=seconds,
                finish_reason=finish_reason,
            )
        )
        self.shadows.hear(table, text, receipt.request_id, engine.ref)

    async def in_time(self, engine: Engine, answer: "asyncio.Future[T]", *, seconds: float = ANSWER_SECONDS) -> T:
        """What `answer` gives within its time. Raises GatewayUnavailable."""
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError as err:
            raise GatewayUnavailable(f"{engine.ref} gave no answer in {seconds:.0f} s", "try again") from err

    async def _read_keys(self) -> Mapping[str, Key]:
        return await self.on_ledger(lambda ledger: KeyRing(ledger).by_digest())

    def _open(self) -> Ledger:
        with self._opening:
            if self._ledger is None:
                self._ledger = Ledger(self.settings)
            return self._ledger


class Writing:
    """One text on its way to one client.

    The engine never waits for the client: pieces queue up here, at most `max_tokens` of them, and the answer is kept
    when it has ended, whether anybody has read it or not.
    """

    def __init__(
        self, gateway: Gateway, table: str, batcher: Batcher, text: str, sampling: Sampling, subject: str | None
    ) -> None:
        self.engine = batcher.engine
        # The id stands from the first piece on; what is drawn here belongs to the receipt.
        self.receipt = receipt_of(self.engine, sampling)
        self._gateway, self._table = gateway, table
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self._is_closed = False
        self._started = time.perf_counter()
        self._draft: Draft = batcher.write(text, sampling, lambda piece: _soon(loop, self._pieces.put_nowait, piece))
        self.said: asyncio.Task[Said] = asyncio.create_task(self._finish(table, text, subject))
        self.said.add_done_callback(self._settle)
        gateway.writings.add(self)

    def failed(self, err: Exception) -> None:
        """Counts that it ended so, where the status was sent before."""
        self._gateway.failed(self._table, err)

    async def pieces(self) -> AsyncIterator[str]:
        """The answer's text as it is written; ends when there is no more, before the answer is kept.

        What has piled up comes at once: under load an event a token costs more than the token.
        """
        piece = await self._pieces.get()
        while piece is not None:
            following = None
            while not self._pieces.empty():
                following = self._pieces.get_nowait()
                if following is None:
                    yield piece
                    return
                piece += following
            yield piece
            piece = await self._pieces.get()

    def leave(self) -> None:
        """Nobody reads on: end it at the next token."""
        self._draft.cancel()

    def close(self) -> None:
        """The client has all that it will get."""
        self.leave()
        self._is_closed = True
        self._settle()

    def _settle(self, *_: object) -> None:
        if self.said.done() and not self.said.cancelled():
            self.said.exception()  # seen: a client that left asks for it no more
            if self._is_closed:
                self._gateway.writings.discard(self)

    async def _finish(self, table: str, text: str, subject: str | None) -> Said:
        # Shielded: the engine's thread tells this future its end, and must not find it cancelled.
        coming = asyncio.wrap_future(self._draft.done)
        try:
            try:
                written: Written = await asyncio.wait_for(asyncio.shield(coming), WRITE_SECONDS)
            except TimeoutError:
                self.leave()
                written = await self._gateway.in_time(self.engine, asyncio.shield(coming), seconds=10.0)
        finally:
            self._pieces.put_nowait(None)
        if written.finish_reason == "cancelled" and not written.text:
            raise problems.ClientLeft  # before anything was said
        answer = Answer(written.text, written.confidence)
        seconds = time.perf_counter() - self._started
        await self._gateway.keep(
            self.receipt,
            self.engine,
            table,
            text,
            answer,
            subject,
            seconds=seconds,
            finish_reason=written.finish_reason,
        )
        self._gateway.metrics.tokens.labels(table).inc(written.num_tokens)
        return Said(self.receipt, answer, written.finish_reason, written.num_prompt_tokens, written.num_tokens)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[str], None], piece: str) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, piece)


def receipt_of(engine: Engine, sampling: Sampling | None = None) -> Receipt:
    """A receipt for what the engine says now; with `sampling`, as it was asked to write."""
    generation: dict[str, JsonValue] = dict(engine.generation)
    if sampling is not None:
        generation |= {"max_new_tokens": sampling.max_tokens, "do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            generation |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
        if sampling.stop:
            generation["stop"] = list(sampling.stop)
    return issue(engine.ref, template_sha256=engine.template_sha256, generation=generation)


def seeded(sampling: Sampling, seed: int | None) -> Sampling:
    """With `seed`, or one drawn now: a receipt always says which."""
    return replace(sampling, seed=secrets.randbits(31) if seed is None else seed)


def check_length(text: str) -> None:
    """Raises TooLarge."""
    if len(text) > MAX_INPUT_CHARS:
        raise problems.TooLarge(f"the input has {len(text)} characters; {MAX_INPUT_CHARS} are taken")
