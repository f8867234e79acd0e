"""Why a retraining starts, and why it does not."""

import pytest

from components.evaluation.gate import Verdict
from components.feedback.triggers import Facts, Past, decide, expected, look
from components.ledger.store import Ledger
from components.recipes import GatePolicy, TriggerPolicy
from components.refs import ModelRef
from components.settings import Settings

NOW = 1_000_000.0
PAST = (Past(num_rows=100, gain=0.02, seconds=3600.0), Past(num_rows=200, gain=0.02, seconds=3600.0))


def decided(policy=None, **facts):
    return decide(
        TriggerPolicy(minimum_feedback=50, **(policy or {})), Facts(**({"now": NOW, "num_waiting": 0} | facts))
    )


def test_the_floor_keeps_a_retraining_from_starting_and_says_how_much_is_missing():
    found = decided(num_waiting=49)
    assert (found.starts, found.outcome) == (False, "NotEnoughFeedback")
    assert "49 rows" in found.reason and "50 are enough" in found.reason
    assert decided(num_waiting=50).cause == "feedback"


@pytest.mark.parametrize(
    ("policy", "facts", "cause"),
    [
        ({"on_new_data": True}, {"is_new_data": True}, "data"),
        ({"maximum_drift": 0.3}, {"drift": 0.4, "drift_of": "label", "is_new_data": True}, "drift"),
        ({"on_failed_canary": True}, {"rolled_back": "banyan-library v3"}, "canary"),
    ],
)
def test_each_cause_starts_one_by_itself_only_where_the_recipe_wants_it(policy, facts, cause):
    found = decided(policy, **facts)
    assert (found.starts, found.cause) == (True, cause)
    assert not decided({}, **facts).starts
    assert not decided(policy).starts


def test_a_drift_that_is_let_pass_starts_nothing():
    assert not decided({"maximum_drift": 0.3}, drift=0.29, is_new_data=True).starts


def test_after_a_retraining_there_is_rest_whatever_the_cause():
    policy = {"rest_seconds": 3600.0, "on_failed_canary": True}
    found = decided(policy, num_waiting=500, rolled_back="v3", ended_at=(NOW - 600,))
    assert (found.starts, found.outcome) == (False, "Resting")
    assert "10 minutes ago" in found.reason and "50 minutes" in found.reason
    assert decided(policy, num_waiting=500, ended_at=(NOW - 3601,)).starts


@pytest.mark.parametrize(("num_lost", "pause"), [(1, 60), (2, 120), (5, 960), (40, 86_400)])
def test_what_came_to_nothing_is_not_tried_every_minute_and_the_pause_grows(num_lost, pause):
    facts = {"num_waiting": 500, "num_lost": num_lost}
    found = decided(**facts, ended_at=(NOW - pause + 1,))
    assert (found.starts, found.outcome, found.again_at) == (False, "BackingOff", NOW + 1)
    assert f"{num_lost} attempt" in found.reason and "came to nothing" in found.reason
    assert decided(**facts, ended_at=(NOW - pause,)).starts
    assert decided(num_waiting=500, num_lost=0, ended_at=(NOW - 1,)).starts, "one that had its verdict is no failure"


def test_it_says_when_the_answer_becomes_another():
    facts = {"num_waiting": 500, "ended_at": (NOW - 80_000, NOW - 600)}
    assert decided({"rest_seconds": 3600.0}, **facts).again_at == NOW + 3000
    assert decided({"maximum_a_day": 2}, **facts).again_at == NOW + 6400
    assert decided({"maximum_a_day": 1}, **facts).again_at == NOW + 85_800
    assert decided(num_waiting=3).again_at is None, "nobody knows when feedback comes"


def test_a_clock_that_was_set_back_makes_no_retraining_wait_for_a_time_that_was():
    policy = {"rest_seconds": 3600.0, "maximum_a_day": 1}
    assert decided(policy, num_waiting=500, ended_at=(NOW + 1_000_000,)).starts
    assert not decided(policy, num_waiting=500, ended_at=(NOW + 60,)).starts


def test_the_ceiling_counts_the_retrainings_of_one_day():
    policy = {"maximum_a_day": 2}
    found = decided(policy, num_waiting=500, ended_at=(NOW - 80_000, NOW - 10))
    assert (found.starts, found.outcome) == (False, "CeilingReached")
    assert decided(policy, num_waiting=500, ended_at=(NOW - 90_000, NOW - 10)).starts


def test_the_expected_gain_is_weighed_against_what_a_training_costs():
    assert expected(Facts(NOW, 100, past=PAST)) == (pytest.approx(0.015), 3600.0), "0.02 / 100 and 0.02 / 200 a row"
    assert decided({"minimum_gain_an_hour": 0.01}, num_waiting=100, past=PAST).starts
    found = decided({"minimum_gain_an_hour": 0.02}, num_waiting=100, past=PAST)
    assert (found.starts, found.outcome) == (False, "NotWorthIt")
    assert "+1.50%" in found.reason and "60 minutes" in found.reason


def test_what_lies_beyond_twice_the_experience_is_not_counted():
    assert expected(Facts(NOW, 10_000, past=PAST)) == expected(Facts(NOW, 400, past=PAST))


def test_without_experience_the_first_one_is_made():
    found = decided({"minimum_gain_an_hour": 0.5}, num_waiting=60)
    assert found.starts and "nothing is known yet" in found.reason


@pytest.fixture
def settings(tmp_path):
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")


def test_experience_and_waiting_rows_are_counted_in_the_ledger(settings):
    verdict = Verdict(
        verdict="promote",
        difference=0.04,
        low=0.01,
        high=0.07,
        p_value=0.01,
        num_examples=9,
        num_wins=5,
        num_losses=1,
        num_more_needed=None,
        reason="better",
        policy=GatePolicy(),
    )
    model = ModelRef(name="banyan-topics", version=2, run_id="r", weights_sha256="w")
    champion = model.model_copy(update={"version": 1})
    with Ledger(settings) as ledger:
        for number in range(6):
            given = {"template_sha256": "t", "generation": {}, "output": "web", "confidence": 0.5}
            ledger.record_answer(f"request-{number}", table="topics", model=champion, text=f"text {number}", **given)
            ledger.record_feedback(f"feedback-{number}", request_id=f"request-{number}", kind="approve")
            if number == 3:
                cut = ledger.cut()
        ledger.record_verdict(model, verdict, champion=champion, metric="accuracy", data_version="d")
        ledger.record_cost("r", "train", subject_name="banyan-topics", device="cpu", seconds=120.0)
        ledger.begin_attempt("topics", run_id="a run", cause="feedback")
        ledger.consume("topics", cut, outcome="promote", model=model)
        ledger.end_attempt("a run", outcome="promote", model=model)
        found = look("topics", TriggerPolicy(minimum_gain_an_hour=0.01), ledger=ledger, settings=settings)
    assert found.num_waiting == 2
    assert found.past == (Past(num_rows=4, gain=0.04, seconds=120.0),)
    assert len(found.ended_at) == 1 and not found.rolled_back
