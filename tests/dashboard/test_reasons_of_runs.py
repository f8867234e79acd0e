"""The list of runs says why a retraining began, and why it did not."""

from dashboard.records import Orchestration, Run
from dashboard.text import Words
from dashboard.viewmodels.runs import runs_view


def notes(*runs):
    found = Orchestration(runs, {}, ("retrain/cpu",), 1, "http://prefect")
    return [line.note for line in runs_view(found, Words("en"), now=100.0).recent]


def run(flow, state, message):
    return Run("id" + message, flow, flow, "cpu", state, state, message, 1.0, 1.0, 2.0, "library", "", "http://x", "")


def test_a_retraining_that_is_over_shows_its_reason_and_another_flow_does_not():
    reason = "library: 99 rows of feedback wait; 100 are enough"
    assert notes(run("retrain", "COMPLETED", reason)) == [reason]
    assert notes(run("ingest", "COMPLETED", "All states completed.")) == [""]
    assert notes(run("retrain", "FAILED", "Flow run encountered an exception: NoChampion: x\ntrace")) == [
        "NoChampion: x"
    ]
