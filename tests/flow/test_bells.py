"""Each event that is to start a look at a table, on a real Prefect server: the automation, the run, what it says."""

import time
import uuid
from datetime import UTC, datetime

import pytest
from prefect.client.orchestration import SyncPrefectClient

from components.feedback.watch import ACTOR
from components.ledger.attempts import LOOK_AGAIN
from flows import deployments

pytestmark = pytest.mark.slow

RUNG = {
    "banyan.feedback.ready": "banyan.table.",
    "banyan.data.changed": "banyan.table.",
    LOOK_AGAIN: "banyan.table.",
    "banyan.model.rolled-back": "banyan.model.banyan-",
}


def ring(stack, event, resource, *, actor="watch"):
    body = {"id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": event, "payload": {}}
    stack.call("POST", "/events", [body | {"resource": {"prefect.resource.id": resource, "banyan.actor": actor}}])


def runs_of(stack, table):
    rows = stack.call("POST", "/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 50})
    return [row for row in rows if row["parameters"].get("table") == table]


def test_each_event_starts_one_look_at_its_table_which_says_why_nothing_begins(small_stack):
    with SyncPrefectClient(api=small_stack.env["PREFECT_API_URL"]) as client:
        wanted = {"flows.look.look", "flows.retrain.retrain"}
        deployments.register(client, [one for one in deployments.DEPLOYMENTS if one.entrypoint in wanted])
    assert set(RUNG) == {bell.event for bell in deployments.BELLS}
    tables = {event: f"bell{number}" for number, event in enumerate(RUNG)}
    deadline, rung = time.monotonic() + 200, dict.fromkeys(RUNG, 0.0)
    done: dict[str, str] = {}
    while len(done) < len(RUNG):
        assert time.monotonic() < deadline, (done, small_stack.log("worker"))
        for event, table in tables.items():
            found = runs_of(small_stack, table)
            # Again after a while: the server loads automations in its own time.
            if not found and time.monotonic() - rung[event] > 20:
                ring(small_stack, "banyan.model.rolled-back", "banyan.model.banyan-operated", actor="ana@example.org")
                ring(small_stack, event, RUNG[event] + table)
                rung[event] = time.monotonic()
            elif found and found[0]["state_type"] in ("COMPLETED", "FAILED", "CRASHED"):
                done[event] = found[0]["state"]["name"] + ": " + found[0]["state"]["message"]
        time.sleep(0.3)
    for event, table in tables.items():
        assert done[event].startswith(f"NotEnoughFeedback: {table}: 0 rows of feedback wait"), done
        assert runs_of(small_stack, table)[0]["parameters"]["trigger"]["kind"] == "trigger"
    assert not runs_of(small_stack, "operated"), "a roll-back by hand was rung before each of them, and is no canary"
    assert deployments.WATCH == ACTOR
