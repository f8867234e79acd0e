"""Processes that are killed, on a real Prefect server with a real worker: the run goes on, once, and ends."""

import os
import signal
import time

import pytest

from components.ledger.attempts import lease_name
from components.ledger.store import Ledger
from components.supervisor import leftovers
from flows.worker import RUN_ID

pytestmark = pytest.mark.slow


def process_of(stack, run_id):
    return next(p for p in leftovers(stack.settings.workspace) if p.environ().get(RUN_ID) == run_id)


def begin(stack, folder, num_steps=60):
    run_id = stack.run(folder=str(folder), num_steps=num_steps, seconds_per_step=0.1)
    deadline = time.monotonic() + 90
    while not (folder / "steps").exists():
        assert time.monotonic() < deadline, stack.log("worker")
        time.sleep(0.05)
    return run_id


def steps_of(folder):
    return (folder / "steps").read_text().split()


def prepared(folder):
    return (folder / "prepared").read_text().count("once")


def test_a_flow_whose_process_was_killed_goes_on_where_it_was(small_stack, tmp_path):
    run_id = begin(small_stack, tmp_path)
    process_of(small_stack, run_id).kill()
    done = small_stack.until(run_id, "COMPLETED", 120)
    assert done.run_count == 2
    assert steps_of(tmp_path) == [str(n) for n in range(60)], "a step was lost or done twice"
    assert prepared(tmp_path) == 1, "a finished step was done again"


def test_a_killed_worker_is_restarted_and_its_run_goes_on_undisturbed(small_stack, tmp_path):
    run_id = begin(small_stack, tmp_path, num_steps=100)
    before = small_stack.pid("worker")
    os.kill(before, signal.SIGKILL)
    done = small_stack.until(run_id, "COMPLETED", 120)
    assert done.run_count == 1, "the run was disturbed by its worker's death"
    assert small_stack.pid("worker") != before
    assert steps_of(tmp_path) == [str(n) for n in range(100)]


def test_a_worker_and_its_flow_killed_together_are_both_taken_up(small_stack, tmp_path):
    run_id = begin(small_stack, tmp_path)
    flow = process_of(small_stack, run_id)
    os.kill(small_stack.pid("worker"), signal.SIGKILL)
    flow.kill()
    assert small_stack.until(run_id, "COMPLETED", 120).run_count == 2
    assert steps_of(tmp_path) == [str(n) for n in range(60)]


def test_a_run_that_keeps_losing_its_process_ends_crashed_and_gives_back_what_it_claimed(small_stack, tmp_path):
    run_id = small_stack.run(folder=str(tmp_path), num_steps=2000, seconds_per_step=0.1, table="small")
    with Ledger(small_stack.settings) as ledger:
        assert ledger.lease(lease_name("small"), holder=run_id, seconds=7200)
    deadline = time.monotonic() + 240
    killed = 0
    while small_stack.read(run_id).run_count < 4 or small_stack.read(run_id).state == "RUNNING":
        assert time.monotonic() < deadline
        if small_stack.read(run_id).state == "RUNNING":
            process_of(small_stack, run_id).kill()
            killed += 1
            time.sleep(1)
        time.sleep(0.2)
    time.sleep(6)  # longer than it takes to be taken up
    assert small_stack.read(run_id).state == "CRASHED"
    assert killed == 4
    with Ledger(small_stack.settings) as ledger:
        assert not ledger.is_leased(lease_name("small")), "the next retraining would be refused for two hours"


def test_a_retraining_that_is_cancelled_or_deleted_before_it_began_gives_its_claim_back(small_stack):
    """As one that was handed over to a pool whose worker is away: it has no process that could."""

    def waiting():
        later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2199-01-01T00:00:00Z"}}
        body = {"state": later, "parameters": {"folder": "never"}}
        deployment = small_stack.call("GET", "/deployments/name/staged/cpu")["id"]
        return small_stack.call("POST", f"/deployments/{deployment}/create_flow_run", body)["id"]

    cancelled, deleted, kept = waiting(), waiting(), waiting()
    with Ledger(small_stack.settings) as ledger:
        ledger.begin_attempt("one", run_id=cancelled, cause="feedback")
        for table, holder in (("one", cancelled), ("two", deleted), ("three", kept), ("four", "a person")):
            assert ledger.lease(lease_name(table), holder=holder, seconds=7200)
        said = small_stack.call("POST", f"/flow_runs/{cancelled}/set_state", {"state": {"type": "CANCELLED"}})
        assert said["status"] == "ACCEPT"
        small_stack.call("DELETE", f"/flow_runs/{deleted}")
        deadline = time.monotonic() + 60
        while ledger.is_leased(lease_name("one")) or ledger.is_leased(lease_name("two")):
            assert time.monotonic() < deadline, small_stack.log("worker")
            time.sleep(0.2)
        assert ledger.leases(lease_name("")) == [(lease_name("four"), "a person"), (lease_name("three"), kept)]
        assert ledger.attempts("one")[-1].outcome == "cancelled"
        ledger.release(lease_name("four"), holder="a person")
    small_stack.call("DELETE", f"/flow_runs/{kept}")


def test_the_claim_of_a_run_that_is_not_over_does_not_lapse(small_stack, tmp_path):
    """As of one that trains for hours, or waits for hours for a worker of the pool gpu."""
    run_id = begin(small_stack, tmp_path, num_steps=400)
    with Ledger(small_stack.settings) as ledger:
        assert ledger.lease(lease_name("long"), holder=run_id, seconds=0.5)
        deadline = time.monotonic() + 60
        while ledger.is_leased(lease_name("long")):  # as it was before anybody looked
            time.sleep(0.05)
        while not ledger.is_leased(lease_name("long")):
            assert time.monotonic() < deadline, small_stack.log("worker")
            time.sleep(0.1)
        assert not ledger.lease(lease_name("long"), holder="a second", seconds=60)
        small_stack.call("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
        while ledger.leases(lease_name("long")):
            assert time.monotonic() < deadline, small_stack.log("worker")
            time.sleep(0.1)


def test_the_whole_stack_killed_in_the_middle_finishes_the_run_after_a_restart(make_small_stack, tmp_path):
    stack = make_small_stack()
    run_id = begin(stack, tmp_path)
    stack.kill_everything()
    at = len(steps_of(tmp_path))
    assert at < 60
    stack.start()
    assert stack.until(run_id, "COMPLETED", 120).run_count == 2
    assert steps_of(tmp_path) == [str(n) for n in range(60)]
    assert prepared(tmp_path) == 1


def test_a_stopped_stack_leaves_no_process_and_its_run_goes_on_at_the_next_start(make_small_stack, tmp_path):
    stack = make_small_stack()
    run_id = begin(stack, tmp_path, num_steps=150)
    stack.stop()
    assert leftovers(stack.settings.workspace) == []
    stack.start()
    assert stack.until(run_id, "COMPLETED", 120).run_count == 2


def test_unchanged_input_is_not_done_again_and_a_named_end_is_no_alarm(small_stack, tmp_path):
    for _ in range(2):
        run_id = small_stack.run(folder=str(tmp_path), num_steps=1, quiet=True)
        assert small_stack.until(run_id, "COMPLETED").state_name == "NotEnoughFeedback"
    assert prepared(tmp_path) == 1


def test_results_on_disk_are_json_and_never_a_pickle(small_stack, tmp_path):
    small_stack.until(small_stack.run(folder=str(tmp_path), num_steps=1), "COMPLETED")
    kept = [path for path in (small_stack.settings.workspace.prefect / "results").rglob("*") if path.is_file()]
    assert kept
    assert all(b'"type": "json"' in path.read_bytes() or b'"type":"json"' in path.read_bytes() for path in kept)
