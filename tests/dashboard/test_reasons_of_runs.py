"""The list of runs says why a retraining began, and why it did not."""

import re
from dataclasses import replace

import pytest

from components.feedback.triggers import Facts, Past, decide
from components.recipes import TriggerPolicy
from dashboard.records import Orchestration, Run, Schedule
from dashboard.text import Words
from dashboard.viewmodels.runs import runs_view, schedule_line
from dashboard.viewmodels.triggers import told

NOW = 1_000_000.0


def notes(*runs):
    found = Orchestration(runs, {}, ("retrain/cpu",), 1, "http://prefect")
    return [line.note for line in runs_view(found, Words("en"), now=100.0).recent]


def run(flow, state, message):
    return Run("id" + message, flow, flow, "cpu", state, state, message, 1.0, 1.0, 2.0, "library", "", "http://x", "")


CASES = [
    ({}, {"num_waiting": 49}),
    ({}, {"num_waiting": 1}),
    ({}, {"num_waiting": 50}),
    ({"on_new_data": True}, {"is_new_data": True}),
    ({"on_new_data": True, "maximum_drift": 0.3, "on_failed_canary": True}, {"drift": 0.1}),
    ({"maximum_drift": 0.3}, {"drift": 0.4, "drift_of": "label", "is_new_data": True}),
    ({"on_failed_canary": True}, {"rolled_back": "banyan-library v3", "num_waiting": 7}),
    ({"rest_seconds": 3600.0}, {"num_waiting": 60, "ended_at": (NOW - 600,)}),
    ({"rest_seconds": 3600.0}, {"num_waiting": 60, "ended_at": (NOW - 10,)}),
    ({}, {"num_waiting": 60, "num_lost": 1, "ended_at": (NOW - 10,)}),
    ({"rest_seconds": 3600.0}, {"num_waiting": 60, "num_lost": 3, "ended_at": (NOW - 600,)}),
    ({"maximum_a_day": 1}, {"num_waiting": 60, "ended_at": (NOW - 600,)}),
    ({"minimum_gain_an_hour": 0.01}, {"num_waiting": 60}),
    ({"minimum_gain_an_hour": 0.01}, {"num_waiting": 60, "past": (Past(100, 0.02, 600.0),)}),
    ({"minimum_gain_an_hour": 0.9}, {"num_waiting": 60, "past": (Past(100, 0.02, 600.0),)}),
]
CLAIMS = [
    "library: somebody asked for it, anew; 3 rows of feedback on library since the last retraining",
    "somebody asked for it, on the feedback up to 12; 3 rows of feedback on library since the last retraining",
    "no feedback on library waits; 1 row is enough",
    "another retraining of library is at work",
    "all 12 rows were refused",
    "its recipe needs a GPU: it goes on in pool gpu",
]
NAMES = {"banyan", "library", "label", "gpu", "GPU", "v"}


@pytest.mark.parametrize(("policy", "facts"), CASES)
def test_whatever_the_trigger_decides_is_said_in_the_reader_s_language(policy, facts):
    decision = decide(TriggerPolicy(minimum_feedback=50, **policy), Facts(**({"now": NOW, "num_waiting": 0} | facts)))
    english, chinese = (told(f"library: {decision.reason}", "library", Words(one)) for one in ("en", "zh"))
    assert set(re.findall("[A-Za-z]+", chinese)) <= NAMES, chinese
    numbers = set(re.findall(r"\d[\d.]*", decision.reason))
    assert numbers <= set(re.findall(r"\d[\d.]*", english)) and numbers <= set(re.findall(r"\d[\d.]*", chinese))
    if decision.outcome != "Granted":
        assert Words("en").has(f"runs.outcome.{decision.outcome}")


@pytest.mark.parametrize("reason", CLAIMS)
def test_so_is_what_a_claim_says(reason):
    assert set(re.findall("[A-Za-z]+", told(reason, "library", Words("zh")))) <= NAMES


def test_one_row_is_no_rows_and_an_unknown_word_stays_as_it_was_said():
    assert told("library: 1 rows of feedback wait; 50 are enough", "library", Words("en")) == (
        "1 row of feedback wait; 50 are needed"
    )
    assert told("a moon rose; 2 rows of feedback wait", "library", Words("zh")) == "a moon rose；2 行反馈待用"


def test_a_retraining_that_did_not_begin_is_not_called_completed():
    done = run("retrain", "COMPLETED", "library: 9 rows of feedback wait; 50 are enough")
    quiet = replace(done, state_name="NotEnoughFeedback")
    found = Orchestration((done, quiet), {}, ("retrain/cpu",), 1, "http://prefect")
    shown = runs_view(found, Words("en"), now=100.0).recent
    assert [(line.state, line.state_text) for line in shown] == [("ready", "completed"), ("empty", "not enough yet")]


def test_a_run_that_nobody_takes_says_how_to_start_a_worker():
    waits = replace(run("pretrain", "SCHEDULED", ""), pool="gpu", created_at=50.0)
    found = Orchestration((waits,), {}, ("retrain/cpu",), 1, "http://prefect", unserved=frozenset({"gpu"}))
    [line] = runs_view(found, Words("en"), now=100.0).now
    assert line.state_text == "waits for a worker" and "banyan worker --pool gpu" in line.note
    [line] = runs_view(replace(found, unserved=frozenset()), Words("en"), now=100.0).now
    assert "banyan worker" not in line.note


def test_a_schedule_is_told_by_the_clock_of_its_zone():
    monday = 1_800_000_000.0  # 2027-01-15 08:00 UTC
    one = Schedule("weekly", "retrain", "library", "0 16 * * 5", "Asia/Shanghai", True, (monday,))
    line = schedule_line(one, Words("en"), monday - 3 * 3600)
    assert (line.when, line.text, line.state_text) == ("in 3 h", "Retrain: library", "on")
    assert line.note == "weekly · 0 16 * * 5 (Asia/Shanghai) · next 01-15 16:00"
    line = schedule_line(replace(one, is_active=False), Words("en"), monday)
    assert (line.when, line.state_text) == ("", "paused") and "next" not in line.note


def test_a_retraining_that_is_over_shows_its_reason_and_another_flow_does_not():
    reason = "library: 99 rows of feedback wait; 100 are enough"
    assert notes(run("retrain", "COMPLETED", reason)) == ["99 rows of feedback wait; 100 are needed"]
    assert notes(run("ingest", "COMPLETED", "All states completed.")) == [""]
    assert notes(run("retrain", "FAILED", "Flow run encountered an exception: NoChampion: x\ntrace")) == [
        "NoChampion: x"
    ]
