"""Retrainings that began: what is kept of them, who may begin, and who is rung for again."""

import pytest

from components.ledger.attempts import LEASE_SECONDS, LOOK_AGAIN, lease_name, num_lost_in_a_row, pause_after

from .conftest import model_ref

LIBRARY = lease_name("library")


def outcomes(ledger, table="library"):
    return [(one.run_id, one.cause, one.outcome) for one in ledger.attempts(table)]


def begin(ledger, run_id, cause="feedback", table="library"):
    assert ledger.lease(lease_name(table), holder=run_id, seconds=LEASE_SECONDS)
    ledger.begin_attempt(table, run_id=run_id, cause=cause)


def again(ledger):
    """When each table is looked at again."""
    waits = [row for row in ledger.undelivered(limit=1000) if row.event == LOOK_AGAIN]
    return {row.resource["banyan.table"] for row in waits}


def test_two_retrainings_at_one_cut_are_two_attempts(ledger, clock):
    for run_id, cause, outcome in (("a", "feedback", "reject"), ("b", "data", "promote")):
        begin(ledger, run_id, cause)
        clock.time += 60
        ledger.consume("library", 7, outcome=outcome, model=model_ref(2))
        ledger.end_attempt(run_id, outcome=outcome, model=model_ref(2))
        ledger.release(LIBRARY, holder=run_id)
    assert len(ledger.cuts("library")) == 1
    assert outcomes(ledger) == [("a", "feedback", "reject"), ("b", "data", "promote")]
    last = ledger.attempts("library")[-1]
    assert (last.ended_at - last.started_at, last.model_version) == (60, 2)


def test_what_is_at_work_is_not_over_and_begins_only_once(ledger, clock):
    begin(ledger, "a")
    clock.time += 10
    begin(ledger, "a")
    assert ledger.attempts("library") == []
    ledger.end_attempt("a", outcome="promote")
    ledger.end_attempt("a", outcome="reject")
    begin(ledger, "a")  # its process was lost after the verdict
    ledger.end_attempt("a", outcome="promote")
    [one] = ledger.attempts("library")
    assert (one.outcome, one.ended_at - one.started_at) == ("promote", 10)


def test_a_failed_run_that_is_tried_again_is_a_second_attempt(ledger):
    begin(ledger, "a")
    ledger.give_up("library", run_id="a", outcome="failed", error="NonFiniteLoss: nan at step 3")
    assert not ledger.is_leased(LIBRARY)
    begin(ledger, "a")
    ledger.end_attempt("a", outcome="promote")
    assert [(one.outcome, one.error) for one in ledger.attempts("library")] == [
        ("failed", "NonFiniteLoss: nan at step 3"),
        ("promote", ""),
    ]
    assert num_lost_in_a_row(ledger.attempts("library")) == 0


def test_giving_up_touches_no_other_run_s_claim_and_no_other_table(ledger):
    begin(ledger, "a")
    ledger.give_up("library", run_id="b", outcome="cancelled")
    assert ledger.is_leased(LIBRARY) and ledger.attempts("library") == []
    ledger.give_up("library", run_id="a", outcome="crashed")
    assert ledger.attempts("topics") == [] and outcomes(ledger) == [("a", "feedback", "crashed")]


def test_the_pause_grows_with_what_came_to_nothing_in_a_row(ledger):
    assert [pause_after(n) for n in (0, 1, 2, 3, 12, 99)] == [0, 60, 120, 240, 86_400, 86_400]
    for run_id, outcome in (("a", "failed"), ("b", "promote"), ("c", "failed"), ("d", "cancelled")):
        begin(ledger, run_id)
        ledger.end_attempt(run_id, outcome=outcome)
        ledger.release(LIBRARY, holder=run_id)
    assert num_lost_in_a_row(ledger.attempts("library")) == 2


@pytest.mark.parametrize("cause", ["data", "drift", "canary", "unknown"])
def test_of_a_cause_that_the_relay_does_not_count_the_table_is_looked_at_again_after_the_pause(ledger, clock, cause):
    for pause in (60, 120):
        begin(ledger, "a", cause)
        ledger.give_up("library", run_id="a", outcome="failed")
        clock.time += pause - 1
        assert again(ledger) == set()
        clock.time += 1
        assert again(ledger) == {"library"}


@pytest.mark.parametrize("cause", ["feedback", "asked"])
def test_feedback_still_waits_after_a_failure_and_nobody_else_asks(ledger, clock, cause):
    begin(ledger, "a", cause)
    ledger.give_up("library", run_id="a", outcome="failed")
    clock.time += 100_000
    assert again(ledger) == set()


def test_a_later_word_for_when_to_look_again_replaces_the_one_before(ledger, clock):
    ledger.look_again("library", at=clock.time + 10)
    ledger.look_again("topics", at=clock.time + 10)
    ledger.look_again("library", at=clock.time + 1e9)
    clock.time += 11
    assert again(ledger) == {"topics"}
    clock.time += 86_400
    assert again(ledger) == {"library", "topics"}, "a day ahead at most"


def test_a_clock_that_was_set_back_holds_no_look_up_for_the_time_that_was(ledger, clock):
    ledger.look_again("library", at=clock.time + 600)
    clock.time -= 1_000_000
    assert again(ledger) == {"library"}


def test_a_claim_is_renewed_by_its_holder_s_name_even_after_it_lapsed_and_never_made(ledger, clock):
    begin(ledger, "a")
    clock.time += LEASE_SECONDS - 1
    assert ledger.renew(LIBRARY, holder="a", seconds=LEASE_SECONDS)
    clock.time += LEASE_SECONDS - 1
    assert ledger.is_leased(LIBRARY)
    clock.time += 2
    assert not ledger.is_leased(LIBRARY)
    assert ledger.leases(lease_name("")) == [(LIBRARY, "a")]
    assert ledger.renew(LIBRARY, holder="a", seconds=60) and ledger.is_leased(LIBRARY)
    assert not ledger.renew(LIBRARY, holder="b", seconds=60)
    ledger.release(LIBRARY, holder="a")
    assert not ledger.renew(LIBRARY, holder="a", seconds=60), "it was given back meanwhile"
    assert not ledger.is_leased(LIBRARY)


def test_a_claim_that_is_passed_on_is_at_no_moment_free_and_stays_one_attempt(ledger, clock):
    begin(ledger, "ours", "data")
    clock.time += 5
    ledger.pass_on("library", holder="ours", to="theirs")
    assert not ledger.lease(LIBRARY, holder="ours", seconds=60)
    clock.time += LEASE_SECONDS - 1
    assert ledger.is_leased(LIBRARY)
    begin(ledger, "theirs", "data")
    ledger.end_attempt("theirs", outcome="promote")
    [one] = ledger.attempts("library")
    assert (one.run_id, one.ended_at - one.started_at) == ("theirs", LEASE_SECONDS + 4)
    ledger.pass_on("library", holder="a third", to="a fourth")
    assert ledger.leases(lease_name("")) == [(LIBRARY, "theirs")]
