"""The loop's own figures, from a ledger whose clock the test moves."""

import pytest

from components.feedback.closing import measures
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.refs import ModelRef

NAME = "banyan-library"


def model(version: int) -> ModelRef:
    return ModelRef(name=NAME, version=version, run_id="r", weights_sha256=f"{version:064d}")


class Clock:
    """Seconds since the epoch, ten more at each look that the test asks for."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


class Aliases:
    """A registry's champion, in memory; a move takes half a second."""

    def __init__(self, clock: Clock) -> None:
        self.now: ModelRef | None = None
        self.clock = clock

    def at_alias(self, name, alias):
        return self.now

    def ref(self, name, version):
        return model(version)

    def set_alias(self, ref, alias="champion"):
        self.clock.time += 0.5
        self.now = ref


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(settings, clock):
    with Ledger(settings, clock=clock) as opened:
        yield opened


@pytest.fixture
def journal(ledger, settings) -> Journal:
    return Journal(ledger, settings.workspace)


def answered(ledger: Ledger, version: int, number: int) -> None:
    ledger.record_answer(
        f"request-{number}", table="library", model=model(version), template_sha256="7" * 64, generation={}, text="x",
        output="sympy",
    )  # fmt: skip


def test_the_clock_runs_from_the_first_complaint_to_the_first_answer_of_the_better_version(ledger, journal, clock):
    registry = Aliases(clock)
    journal.move(registry, model(1), actor="gate", evidence={})
    answered(ledger, 1, 1)
    ledger.record_feedback("feedback-1", request_id="request-1", kind="approve")
    assert measures(ledger, "library").closing is None, "nobody complained"
    clock.time = 2_000_000.0
    ledger.record_feedback("feedback-2", request_id="request-1", kind="rate", rating=1)
    clock.time += 60
    ledger.record_feedback("feedback-3", request_id="request-1", kind="correct", correction="networkx")
    journal.move(registry, model(2), actor="gate", evidence={})
    assert measures(ledger, "library").closing is None, "the better version has answered nobody yet"
    clock.time = 2_000_000.0 + 180
    answered(ledger, 2, 2)
    found = measures(ledger, "library")
    assert found.closing.minutes == pytest.approx(3.0)
    assert (found.closing.version_before, found.closing.version_after) == (1, 2)
    assert (found.num_promotions, found.num_rollbacks, found.num_rows, found.num_lost) == (2, 0, 3, 0)


def test_going_back_is_timed_and_a_row_that_is_gone_shows(ledger, journal, clock):
    registry = Aliases(clock)
    for version in (1, 2):
        journal.move(registry, model(version), actor="gate", evidence={})
    answered(ledger, 1, 1)
    ledger.record_feedback("feedback-1", request_id="request-1", kind="approve")
    journal.rollback(registry, NAME, actor="ada", reason="worse")
    found = measures(ledger, "library")
    assert (found.num_rollbacks, found.rollback_seconds) == (1, pytest.approx(0.5))
    with ledger.database.write() as connection:
        for table in ("fates", "outbox", "feedback"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    assert measures(ledger, "library").num_lost == 1


def test_requests_without_an_answer_belong_to_the_roll_back_that_they_fell_into(ledger, journal, clock):
    registry = Aliases(clock)
    for version in (1, 2):
        journal.move(registry, model(version), actor="gate", evidence={})
    assert measures(ledger, "library").rollback_dropped is None, "nobody has gone back"
    clock.time = 2_000_000.0
    journal.rollback(registry, NAME, actor="ada", reason="worse")
    assert measures(ledger, "library").rollback_dropped == 0
    begun = 2_000_000.0
    counts = {(begun - 1, "library", "Full"): 100, (begun, "library", "Full"): 2, (begun, "emoji", "Full"): 50}
    ledger.record_failures(counts | {(begun + 9, "library", "LedgerError"): 1, (begun + 60, "library", "Full"): 200})
    assert measures(ledger, "library").rollback_dropped == 3
