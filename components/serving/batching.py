"""One worker thread a model: requests that wait together are answered together."""

import threading
from collections import deque
from concurrent.futures import Future
from queue import Full
from typing import Protocol

from pydantic import JsonValue

from components.refs import ModelRef
from components.tasks.base import Answer


class Engine(Protocol):
    """One model version in memory. `answer` is called from one thread at a time."""

    ref: ModelRef
    task: str
    example: str
    """An input that makes sense to a reader."""
    labels: tuple[str, ...]
    """What it can say; empty where it writes freely."""
    template_sha256: str
    generation: dict[str, JsonValue]
    """Every parameter that shapes an answer."""

    def answer(self, texts: list[str]) -> list[Answer]:
        """One answer a text, in their order."""
        ...


class Batcher:
    """A bounded queue before an engine.

    Nobody waits for a batch to fill: whatever queued up while the last batch ran is the next one,
    so a lone request pays nothing and a crowd shares its forward passes.
    """

    def __init__(self, engine: Engine, *, capacity: int = 256, max_batch: int = 16) -> None:
        self.engine = engine
        self.capacity = capacity
        self.max_batch = max_batch
        self._waiting: deque[tuple[str, Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._worker = threading.Thread(target=self._work, name=f"engine {engine.ref}", daemon=True)
        self._worker.start()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def submit(self, text: str) -> "Future[Answer]":
        """The answer to come. Cancelling it before its turn takes the request out.

        Raises:
            queue.Full: `capacity` requests wait already.
            RuntimeError: the batcher was closed.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError(f"{self.engine.ref} is closed")
            if len(self._waiting) >= self.capacity:
                raise Full
            self._waiting.append((text, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Take no more, answer everything that waits, and end the worker. Blocks until then."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                taken = [self._waiting.popleft() for _ in range(min(self.max_batch, len(self._waiting)))]
            batch = [(text, future) for text, future in taken if future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)

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
