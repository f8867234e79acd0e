"""The relay: what is delivered, when it rings, and what happens while Prefect is down."""

import json
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from components.errors import ServiceDown
from components.feedback.triggers import Decision
from components.ledger.attempts import LOOK_AGAIN, lease_name
from components.ledger.outbox import READY, Relay, is_due, main
from components.ledger.schema import Pending
from components.recipes import TriggerPolicy

POLICY = TriggerPolicy(minimum_feedback=3, quiet_seconds=5, longest_wait_seconds=600)


class Prefect:
    """Takes events as Prefect's `POST /api/events` does; `status` is what it answers."""

    def __init__(self) -> None:
        self.status: dict[str, int] = {}
        self.down = False
        self.events: list[dict] = []
        self.num_posts = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/api/events")
        self.num_posts += 1
        if self.down:
            raise httpx.ConnectError("refused")
        events = json.loads(request.content)
        worst = max([self.status.get(event["event"], 204) for event in events])
        if worst < 300:
            self.events += events
        return httpx.Response(worst)

    def rings(self) -> list[dict]:
        return [event for event in self.events if event["event"] == READY]


@pytest.fixture
def prefect() -> Prefect:
    return Prefect()


@pytest.fixture
def relay(ledger, prefect, clock) -> Iterator[Relay]:
    with httpx.Client(transport=httpx.MockTransport(prefect)) as client:
        yield Relay(ledger, lambda: "http://prefect/", POLICY, client, now=clock)


@pytest.fixture
def give(ledger, ask):
    def feedback(*numbers: int, table: str = "library") -> None:
        for number in numbers:
            ledger.record_feedback(f"{table}-{number}", request_id=ask(number, table=table), kind="approve")

    return feedback


def test_what_the_ledger_noted_is_delivered_once_and_in_order(relay, prefect, give, ledger):
    give(1, 2)
    relay.step()
    relay.step()
    assert [event["resource"]["prefect.resource.id"] for event in prefect.events] == [
        "banyan.feedback.library-1",
        "banyan.feedback.library-2",
    ]
    assert len({event["id"] for event in prefect.events}) == 2
    assert ledger.num_undelivered() == 0


def test_an_event_that_is_delivered_again_after_a_crash_has_the_same_id(relay, prefect, give, ledger, monkeypatch):
    give(1)
    monkeypatch.setattr(ledger, "mark_delivered", lambda rows: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        relay.step()
    monkeypatch.undo()
    relay.step()
    first, second = prefect.events
    assert first["id"] == second["id"]


def test_events_wait_while_prefect_is_down_and_it_is_not_hammered(relay, prefect, give, clock):
    give(1)
    prefect.down = True
    for _ in range(60):
        relay.step()
        clock.time += 1
    assert prefect.num_posts == 5, "pauses of 2, 4, 8, 16 and 32 seconds"
    prefect.down = False
    clock.time += 60
    relay.step()
    assert len(prefect.events) == 1


def test_an_address_that_nobody_knows_yet_is_like_a_server_that_is_down(ledger, prefect, give, clock):
    def unknown() -> str:
        raise ServiceDown("there is no address of prefect")

    give(1)
    with httpx.Client(transport=httpx.MockTransport(prefect)) as client:
        Relay(ledger, unknown, POLICY, client, now=clock).step()
    assert ledger.num_undelivered() == 1


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_an_answer_that_is_not_about_the_events_makes_them_wait(relay, prefect, give, ledger, status):
    give(1)
    prefect.status["banyan.feedback.received"] = status
    relay.step()
    (row,) = ledger.undelivered()
    assert row.num_attempts == 0


def test_an_event_that_prefect_refuses_does_not_hold_up_the_others(relay, prefect, give, ledger, clock):
    give(1)
    ledger.append_journal({"name": "banyan-library"}, event="banyan.model.promoted")
    prefect.status["banyan.feedback.received"] = 422
    relay.step()
    assert [event["event"] for event in prefect.events] == ["banyan.model.promoted"]
    assert (ledger.undelivered(), ledger.num_undelivered()) == ([], 1)
    prefect.status.clear()
    clock.time += 61
    relay.step()
    assert ledger.num_undelivered() == 0


def test_it_rings_once_the_burst_is_over_and_says_for_which_table(relay, prefect, give, clock):
    give(1, 2, 3)
    relay.step()
    assert prefect.rings() == []
    clock.time += 5
    relay.step()
    (ring,) = prefect.rings()
    assert ring["resource"]["prefect.resource.id"] == "banyan.table.library"
    answer = "3 rows of feedback wait, and 3 are enough"
    assert ring["payload"] == {"unconsumed": 3, "cut": 3, "answer": answer}


def test_it_counts_each_table_for_itself(relay, prefect, give, clock):
    give(1, 2)
    give(1, 2, table="summary")
    clock.time += 60
    relay.step()
    assert prefect.rings() == []


def test_it_rings_again_every_minute_until_the_feedback_is_consumed(relay, prefect, give, clock, ledger):
    give(1, 2, 3)
    for _ in range(30):
        clock.time += 5
        relay.step()
    assert len(prefect.rings()) == 3
    ledger.consume("library", 3, outcome="reject")
    for _ in range(30):
        clock.time += 5
        relay.step()
    assert len(prefect.rings()) == 3


def test_new_feedback_after_a_cut_rings_without_waiting_for_the_minute(relay, prefect, give, clock, ledger):
    give(1, 2, 3)
    clock.time += 5
    relay.step()
    ledger.consume("library", 3, outcome="promote")
    clock.time += 1
    give(4, 5, 6)
    clock.time += 5
    relay.step()
    assert len(prefect.rings()) == 2


def test_it_is_silent_while_a_retraining_works_and_rings_when_that_has_died(relay, prefect, give, clock, ledger):
    give(1, 2, 3)
    ledger.lease(lease_name("library"), holder="run", seconds=100)
    for _ in range(19):
        clock.time += 5
        relay.step()
    assert prefect.rings() == []
    clock.time += 5
    relay.step()
    assert len(prefect.rings()) == 1


def resting(relay, **policy):
    relay.policy = POLICY.model_copy(update=policy)


def retrained(ledger, outcome, run_id="run"):
    ledger.begin_attempt("library", run_id=run_id, cause="feedback")
    ledger.end_attempt(run_id, outcome=outcome)


def test_where_the_policy_says_no_it_rings_once_so_that_the_reason_is_seen(relay, prefect, give, clock, ledger):
    retrained(ledger, "promote")
    resting(relay, rest_seconds=3600.0)
    give(1, 2, 3)
    for _ in range(300):
        relay.step()
        clock.time += 10
    assert len(prefect.rings()) == 1
    for _ in range(110):
        relay.step()
        clock.time += 6
    assert len(prefect.rings()) > 1
    first = prefect.rings()[1]["occurred"]
    assert 3600 <= datetime.fromisoformat(first).timestamp() - 1_800_000_000 <= 3606, "as soon as it may begin"


def test_more_feedback_can_change_a_no_and_is_rung_for_at_once(relay, prefect, give, clock, ledger, monkeypatch):
    worth = {"is": False}
    answers = {False: Decision(False, "NotWorthIt", "no", "feedback"), True: Decision(True, "Granted", "y", "feedback")}
    monkeypatch.setattr("components.ledger.outbox.decide", lambda *_: answers[worth["is"]])
    give(1, 2, 3)
    clock.time += 6
    for _ in range(100):
        relay.step()
        clock.time += 10
    assert len(prefect.rings()) == 1
    worth["is"] = True
    relay.step()
    assert len(prefect.rings()) == 2


def test_a_retraining_that_keeps_failing_is_rung_for_less_and_less(relay, prefect, give, clock, ledger):
    """Each failure: once for the reason why it waits, once when it may begin."""
    give(1, 2, 3)
    clock.time += 6
    begun = 0
    for number in range(720):
        before = len(prefect.rings())
        relay.step()
        clock.time += 10
        if len(prefect.rings()) > before and prefect.rings()[-1]["payload"]["answer"].endswith("3 are enough"):
            begun += 1
            retrained(ledger, "failed", run_id=f"run {number}")
    assert begun == 7, "after 1, 2, 4, 8, 16, 32 and 64 minutes the pause is longer than what is left"
    assert len(prefect.rings()) == 2 * begun


def test_a_look_that_was_put_off_waits_for_the_end_of_the_retraining_at_work(relay, prefect, clock, ledger):
    ledger.lease(lease_name("library"), holder="run", seconds=3600)
    ledger.look_again("library", at=clock.time)
    for _ in range(60):
        relay.step()
        clock.time += 1
    assert prefect.events == []
    ledger.release(lease_name("library"), holder="run")
    for _ in range(6):
        relay.step()
        clock.time += 1
    [event] = prefect.events
    assert (event["event"], event["resource"]["prefect.resource.id"]) == (LOOK_AGAIN, "banyan.table.library")


def test_a_ring_that_was_not_heard_is_tried_again_before_the_minute(relay, prefect, give, clock):
    give(1, 2, 3)
    relay.step()
    prefect.down = True
    clock.time += 5
    relay.step()
    prefect.down = False
    clock.time += 3
    relay.step()
    assert len(prefect.rings()) == 1


@pytest.mark.parametrize(
    ("count", "since_newest", "since_oldest", "due"),
    [(2, 100, 700, False), (3, 4, 10, False), (3, 5, 10, True), (3, 0, 599, False), (3, 0, 600, True)],
)
def test_feedback_is_due_when_it_is_enough_and_quiet_or_old(count, since_newest, since_oldest, due):
    now = 10_000.0
    assert is_due(Pending(count, now - since_oldest, now - since_newest, 9), POLICY, now) is due


@pytest.mark.parametrize("seconds", [3600.0, 90.0, -30.0, -600.0])
def test_a_clock_that_is_set_makes_nothing_wait_for_a_time_that_was(relay, prefect, give, clock, seconds):
    give(1)
    prefect.down = True
    for _ in range(3):
        relay.step()
        clock.time += 8
    give(2, 3)
    prefect.down = False
    clock.time += seconds
    for _ in range(80):
        relay.step()
        clock.time += 1
    delivered = [event for event in prefect.events if event["event"] != READY]
    assert len(delivered) == 3
    assert prefect.rings(), "feedback of a later time than now was waited for"


def test_a_trigger_recipe_with_a_typo_ends_the_relay_with_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    (tmp_path / "trigger.yaml").write_text("kind: trigger\nminimum_fedback: 3\n")
    assert main(["--policy", str(tmp_path / "trigger.yaml")]) == 2
    assert "minimum_fedback: unknown field" in capsys.readouterr().err
