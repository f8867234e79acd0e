import threading
from queue import Full

import pytest

from components.refs import ModelRef
from components.serving.batching import Batcher
from components.tasks.base import Answer

REF = ModelRef(name="banyan-library", version=1, run_id="r", weights_sha256="0" * 64)


class Held:
    """An engine that answers only while its gate is open, and remembers its batches."""

    ref, task, example, labels, template_sha256 = REF, "classification", "", (), "0" * 64

    def __init__(self) -> None:
        self.generation = {}
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []

    def answer(self, texts: list[str]) -> list[Answer]:
        self.batches.append(texts)
        self.entered.set()
        assert self.gate.wait(10)
        if "bad" in texts:
            raise ValueError("bad")
        return [Answer(text.upper(), 1.0) for text in texts]


@pytest.fixture
def engine():
    engine = Held()
    yield engine
    engine.gate.set()


def hold_one(batcher: Batcher, engine: Held):
    """A first request that keeps the worker busy, so that what follows has to wait."""
    first = batcher.submit("first")
    assert engine.entered.wait(10)
    return first


def test_requests_that_wait_together_are_answered_together(engine):
    batcher = Batcher(engine, max_batch=4)
    hold_one(batcher, engine)
    rest = [batcher.submit(f"t{i}") for i in range(6)]
    engine.gate.set()
    assert [future.result(10).output for future in rest] == [f"T{i}" for i in range(6)]
    assert [len(batch) for batch in engine.batches] == [1, 4, 2]


def test_a_full_queue_refuses_at_once(engine):
    batcher = Batcher(engine, capacity=2)
    hold_one(batcher, engine)
    kept = [batcher.submit("a"), batcher.submit("b")]
    with pytest.raises(Full):
        batcher.submit("c")
    engine.gate.set()
    assert [future.result(10).output for future in kept] == ["A", "B"]


def test_closing_answers_everything_that_waits_and_takes_no_more(engine):
    batcher = Batcher(engine)
    futures = [hold_one(batcher, engine), *(batcher.submit(f"t{i}") for i in range(20))]
    closer = threading.Thread(target=batcher.close)
    closer.start()
    engine.gate.set()
    closer.join(10)
    assert not closer.is_alive()
    assert all(future.done() and future.result().output for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("late")


def test_one_bad_input_fails_alone(engine):
    batcher = Batcher(engine)
    hold_one(batcher, engine)
    good, bad, fine = batcher.submit("good"), batcher.submit("bad"), batcher.submit("fine")
    engine.gate.set()
    assert good.result(10).output == "GOOD"
    assert fine.result(10).output == "FINE"
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)


def test_a_cancelled_request_never_reaches_the_engine(engine):
    batcher = Batcher(engine)
    hold_one(batcher, engine)
    gone, kept = batcher.submit("gone"), batcher.submit("kept")
    assert gone.cancel()
    engine.gate.set()
    assert kept.result(10).output == "KEPT"
    assert engine.batches == [["first"], ["kept"]]


def test_an_engine_that_loses_an_answer_is_an_error_and_not_a_shift_by_one(engine):
    engine.answer = lambda texts: [Answer("x", 1.0)] * (len(texts) + 1)
    with pytest.raises(RuntimeError, match="2 answers to 1 inputs"):
        Batcher(engine).submit("a").result(10)
