"""Flows by the clock, in a zone of one's own; and what a run says that nobody takes."""

from datetime import UTC

import pytest
from prefect.client.orchestration import SyncPrefectClient

from components.errors import UsageError
from flows import deployments, schedules
from flows.following import Waiting
from flows.remote import Prefect


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        ("0 3 * *", "UTC", "has not five fields"),
        ("0 3 * * * *", "UTC", "has not five fields"),
        ("0 25 * * *", "UTC", "does not read"),
        ("now", "UTC", "has not five fields"),
        ("@never", "UTC", "does not read"),
        ("0 3 30 2 *", "UTC", "never comes"),
        ("0 3 * * 1", "Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("0 3 * * 1", "", "no time zone ''"),
        ("0 3 * * 1", "../etc/passwd", "no time zone"),
    ],
)
def test_a_time_that_is_no_time_is_refused_in_words(cron, zone, said):
    with pytest.raises(UsageError, match=said):
        schedules.next_times(cron, zone)


def test_a_time_is_of_its_zone_and_keeps_to_the_clock_over_the_change_of_summer_time():
    monday = schedules.next_times("0 3 * * 1", "Asia/Shanghai")
    assert {(at.hour, at.weekday(), at.astimezone(UTC).hour) for at in monday} == {(3, 0, 19)}
    daily = schedules.next_times("0 12 * * *", "Europe/Berlin", count=370)
    assert {at.hour for at in daily} == {12} and {at.astimezone(UTC).hour for at in daily} == {10, 11}


@pytest.mark.parametrize(
    ("flow", "given", "said"),
    [
        ("promote", {"table": "library"}, "does not go by the clock"),
        ("retrain", {}, "wants a table"),
        ("retrain", {"table": "library", "recipe": "library"}, "wants a table"),
        ("train", {}, "wants a recipe"),
        ("ingest", {"recipe": "demo-data", "table": "library"}, "takes its table from the recipe"),
        ("evaluate", {"table": "library", "pool": "gpu"}, "trains nothing"),
    ],
)
def test_what_a_flow_lacks_or_has_too_much_is_told(flow, given, said):
    with pytest.raises(UsageError, match=said):
        schedules.request(flow, **({"table": None, "recipe": None, "changes": [], "pool": None} | given))


def test_a_training_is_placed_by_what_its_recipe_needs():
    def place(changes, pool=None):
        return schedules.request("train", table=None, recipe="library", changes=changes, pool=pool)[0]

    assert place([]) == "finetune/cpu"
    assert place(["device=cuda"]) == "finetune/gpu"
    assert place(["device=cuda"], pool="cpu") == "finetune/cpu", "whoever names a pool knows better"


def register(small_stack):
    """As at a start of the stack."""
    with SyncPrefectClient(api=small_stack.env["PREFECT_API_URL"]) as client:
        wanted = {"flows.look.look", "flows.retrain.retrain", "flows.evaluate.evaluate", "flows.verify.verify"}
        deployments.register(client, [one for one in deployments.DEPLOYMENTS if one.entrypoint in wanted])


def test_a_schedule_outlives_a_registration_and_is_paused_and_removed_by_name(small_stack):
    def scheduled():
        return {one.name: one for one in schedules.found(small_stack.settings)}

    register(small_stack)
    given = {"table": "library"}
    when = {"cron": "0 3 * * 1", "timezone": "Asia/Shanghai"}
    schedules.add("evaluate/cpu", given, name="monday", **when, settings=small_stack.settings)
    with pytest.raises(UsageError, match="there is a schedule monday already"):
        schedules.add("verify/cpu", {"model": "x"}, name="monday", **when, settings=small_stack.settings)
    schedules.switch("nightly", small_stack.settings, on=False)
    register(small_stack)
    found = scheduled()
    assert (found["monday"].cron, found["monday"].timezone, found["monday"].of) == (*when.values(), "library")
    assert found["monday"].is_active and len(found["monday"].next_at) == 3
    assert not found["nightly"].is_active, "what an operator paused stays so"
    assert (found["nightly"].deployment, found["nightly"].of) == ("look/cpu", "")
    schedules.switch("nightly", small_stack.settings, on=True)
    schedules.remove("monday", small_stack.settings)
    register(small_stack)
    assert list(scheduled()) == ["nightly"]
    with pytest.raises(UsageError, match="there is no schedule monday"):
        schedules.remove("monday", small_stack.settings)


def test_a_run_in_a_pool_without_a_worker_says_how_to_start_one(small_stack):
    register(small_stack)
    prefect = Prefect(small_stack.settings)
    run_id = prefect.start("retrain/gpu", {"table": "library"})
    run = prefect.read(run_id)
    waits = Waiting(prefect)
    assert not run.has_begun and "banyan worker --pool gpu" in waits.see(run)
    assert waits.see(run) == "", "once is enough"
    assert prefect.is_served("cpu") and not prefect.is_served("gpu")
