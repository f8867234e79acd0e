"""One worker thread a model: requests that wait together are answered together."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import Full
from typing import Protocol, TypeVar

from pydantic import JsonValue

from components.refs import ModelRef
from components.serving.decoding import Decodes, Draft, Sampling
from components.tasks.base import Answer

T = TypeVar("T")


class Engine(Protocol):
    """One model version in memory. `answer` and the decoder are called from one thread at a time."""

    ref: ModelRef
    task: str
    example: str
    """An input that makes sense to a reader."""
    labels: tuple[str, ...]
    """What it can say; empty where it writes freely."""
    template_sha256: str
    generation: dict[str, JsonValue]
    """Every parameter that shapes an answer."""
    decoder: Decodes | None
    """What writes token by token; None where answers come whole."""
    num_dimensions: int | None
    """Of its embeddings; None where it has none."""
    max_new_tokens: int
    """The longest text that it can be asked to write; 0 where answers come whole."""

    def answer(self, texts: list[str]) -> list[Answer]:
        """One answer a text, in their order."""
        ...

    def embed(self, texts: list[str]) -> list[list[float]]:
        """One vector of length 1 a text, in their order. Only where `num_dimensions` is a number."""
        ...

    def num_tokens(self, asked: str, said: str = "") -> tuple[int, int]:
        """How many tokens the model reads of what is asked, and how many what is said has."""
        ...


class Batcher:
    """A bounded queue before an engine.

    Nobody waits for a batch to fill: whatever queued up while the last batch ran is the next one,
    so a lone request pays nothing and a crowd shares its forward passes. What is written token by token joins the
    batch that is being written.
    """

    def __init__(self, engine: Engine, *, capacity: int = 256, max_batch: int = 16) -> None:
        self.engine = engine
        self.capacity = capacity
        self.max_batch = max_batch
        self._decoder: Decodes | None = getattr(engine, "decoder", None)
        self._waiting: deque[tuple[str, Future[Answer]]] = deque()
        self._drafts: deque[Draft] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._worker = threading.Thread(target=self._work, name=f"engine {engine.ref}", daemon=True)
        self._worker.start()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting) + len(self._drafts) + len(self._jobs)

    @property
    def num_writing(self) -> int:
        """Texts that are being written now."""
        return self._decoder.num_rows if self._decoder else 0

    def submit(self, text: str) -> "Future[Answer]":
        """The answer to come. Cancelling it before its turn takes the request out.

        Raises:
            queue.Full: `capacity` requests wait already.
            RuntimeError: the batcher was closed.
        """
        future: Future[Answer] = Future()
        with self._room():
            self._waiting.append((text, future))
        return future

    def write(self, text: str, sampling: Sampling, on_piece: Callable[[str], None]) -> Draft:
        """An answer to `text` that is told piece by piece. Cancelling it ends it at the next token.

        Raises:
            queue.Full: `capacity` requests wait already.
            RuntimeError: the batcher was closed, or its engine does not write.
        """
        if self._decoder is None:
            raise RuntimeError(f"{self.engine.ref} does not write")
        draft = Draft(text, sampling, on_piece)
        with self._room():
            self._drafts.append(draft)
        return draft

    def run(self, call: Callable[[], T]) -> "Future[T]":
        """`call()` in the worker's thread, when its turn comes.

        Raises:
            queue.Full: `capacity` requests wait already.
            RuntimeError: the batcher was closed.
        """
        future: Future[T] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except Exception as err:  # blanket: it belongs to whoever asked
                    future.set_exception(err)

        with self._room():
            self._jobs.append(job)
        return future

    def close(self) -> None:
        """Take no more, answer everything that waits, and end the worker. Blocks until then."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._worker.join()

    @contextmanager
    def _room(self) -> Iterator[None]:
        with self._changed:
            if self._closing:
                raise RuntimeError(f"{self.engine.ref} is closed")
            if self.num_waiting >= self.capacity:
                raise Full
            yield
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self.num_waiting or self.num_writing or self._closing):
                    self._changed.wait()
                if not (self.num_waiting or self.num_writing):
                    return
                taken = [self._waiting.popleft() for _ in range(min(self.max_batch, len(self._waiting)))]
                room = self._decoder.max_rows - self._decoder.num_rows if self._decoder else 0
                room = min(room, self._decoder.max_joins) if self._decoder else 0
                drafts = [draft for draft in self._drafts if draft.is_cancelled]
                self._drafts = deque(draft for draft in self._drafts if not draft.is_cancelled)
                drafts += [self._drafts.popleft() for _ in range(min(room, len(self._drafts)))]
                job = self._jobs.popleft() if self._jobs else None
            batch = [(text, future) for text, future in taken if future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)
            if job:
                job()
            if self._decoder:
                self._write(self._decoder, drafts)

    def _write(self, decoder: Decodes, drafts: list[Draft]) -> None:
        """One token of every text; `drafts` begin."""
        fresh = []
        for draft in drafts:
            if draft.is_cancelled:
                draft.finish("cancelled")
            else:
                fresh.append(draft)
        # Blanket: as below.
        try:
            if decoder.num_rows:
                decoder.step()
        except Exception as err:
            decoder.fail(err)
        self._join(decoder, fresh)

    def _join(self, decoder: Decodes, drafts: list[Draft]) -> None:
        if not drafts:
            return
        try:
            decoder.join(drafts)
        except Exception as err:
            if len(drafts) == 1:
                drafts[0].done.set_exception(err)
                return
            for draft in drafts:  # one bad input fails alone
                self._join(decoder, [draft])

    def _answer(self, batch: list[tuple[str, "Future[Answer]"]]) -> None:
        # Blanket: whatever an engine raises belongs to the request, and must not end the thread.
        try:
            answers = self.engine.answer([text for text, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{self.engine.ref} gave {len(answers)} answers to {len(batch)} inputs")
        except Exception as err:
            if len(batch) == 1:
                batch[0][1].set_exception(err)
                return
            for one in batch:  # one bad input fails alone
                self._answer([one])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
