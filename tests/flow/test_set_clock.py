"""Somebody sets the clock: which runs the worker takes for lost, and which wait for a time that was.

Prefect's server writes a state's time itself, so runs of another time are handed in here; the whole stack under a clock
that jumps is `make bench NAME=faults`.
"""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed, Pending, Running, Scheduled, State

from flows import worker
from flows.worker import PATIENCE, SETTLED, bring_forward, take_up


class Server:
    """What the worker asks of Prefect's, with one run."""

    def __init__(self, state: State, *, auto_scheduled: bool = False) -> None:
        self.run = FlowRun(
            id=uuid4(), flow_id=uuid4(), name="retrain", state=state, state_type=state.type, run_count=1,
            auto_scheduled=auto_scheduled,
        )  # fmt: skip
        self.set: list[State] = []

    def read_flow_runs(self, *, flow_run_filter, **_):
        wanted = flow_run_filter.state.type.any_
        after = flow_run_filter.next_scheduled_start_time
        is_later = after is None or self.run.state.state_details.scheduled_time > after.after_
        return [self.run] if self.run.state_type in wanted and is_later else []

    def set_flow_run_state(self, run_id, state, *, force=False):
        assert run_id == self.run.id
        self.set.append(state)


@pytest.fixture
def counted(monkeypatch):
    """The clock that only counts, by hand."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(worker.time, "monotonic", lambda: clock.now)
    return clock


def at(state: State, seconds: float) -> State:
    state.timestamp = datetime.now(UTC) + timedelta(seconds=seconds)
    return state


def look(server, seen):
    return take_up(server, pool="cpu", living={}, patience=PATIENCE, seen=seen)


@pytest.mark.parametrize("offset", [0.0, 600.0, -3600.0], ids=["right", "set back", "set forward"])
def test_a_run_without_a_process_is_taken_up_after_the_same_seconds_whatever_the_clock_says(counted, offset):
    server, seen = Server(at(Running(), offset)), {}
    for _ in range(10):
        assert look(server, seen) == {}
        counted.now += PATIENCE.total_seconds() / 10
    assert look(server, seen) == {"retrain": "AwaitingRetry"}


@pytest.mark.parametrize(("offset", "taken"), [(0.0, True), (600.0, True), (-7200.0, False)])
def test_a_run_that_has_just_crashed_is_taken_up_and_one_of_long_ago_is_not(counted, offset, taken):
    server, seen = Server(at(Crashed(), offset)), {}
    assert look(server, seen) == {}
    counted.now += SETTLED.total_seconds() + 1
    assert bool(look(server, seen)) is taken


def test_a_run_scheduled_before_the_clock_was_set_back_begins_now():
    then = datetime.now(UTC) + timedelta(seconds=600)
    server = Server(at(Scheduled(scheduled_time=then), 600))
    assert bring_forward(server, pool="cpu") == ["retrain"]
    [state] = server.set
    assert state.state_details.scheduled_time <= datetime.now(UTC)


@pytest.mark.parametrize(("offset", "scheduled", "is_ended"), [(600, 599, True), (0, 8, False), (600, -5, False)])
def test_a_process_that_waits_for_a_time_that_was_is_ended_and_one_that_is_early_is_not(offset, scheduled, is_ended):
    """Prefect hands a run's scheduled time on to the state that its process begins in; workers begin 10 s early."""
    state = at(Pending(), offset)
    state.state_details.scheduled_time = datetime.now(UTC) + timedelta(seconds=scheduled)
    server = Server(state)
    process = subprocess.Popen([sys.executable, "-Sc", "import time; time.sleep(60)"])
    try:
        living = {str(server.run.id): psutil.Process(process.pid)}
        assert bool(bring_forward(server, pool="cpu", living=living)) is is_ended
        assert (process.wait(10) < 0) if is_ended else (process.poll() is None)
    finally:
        process.kill()
        process.wait()


def test_a_run_that_somebody_planned_for_later_is_left_alone():
    then = datetime.now(UTC) + timedelta(seconds=600)
    assert bring_forward(Server(at(Scheduled(scheduled_time=then), -5)), pool="cpu") == []
    nightly = Server(at(Scheduled(scheduled_time=then), 600), auto_scheduled=True)
    assert bring_forward(nightly, pool="cpu") == [] == nightly.set
