"""What somebody waits for who chooses a run: asked for at once, and with what the run has started."""

import json
import threading
from typing import Any

import httpx
import pytest

from dashboard.prefect_replies import run_detail
from dashboard.replies import Refused

LINE = {"timestamp": "2026-01-02T03:04:05+00:00", "level": 20}
ANSWERS: dict[str, Any] = {
    "/api/task_runs/filter": [{"name": "train-0a1", "state_type": "RUNNING", "estimated_run_time": 2.0}],
    "/api/flow_runs/filter": [],
    "/api/artifacts/filter": [{"data": 40.0, "description": "train: 4 of 10"}],
    "/api/logs/filter": [{**LINE, "message": "second"}, {**LINE, "message": "first"}],
}


def client(answer: Any) -> httpx.Client:
    return httpx.Client(base_url="http://prefect/api", transport=httpx.MockTransport(answer))


def test_all_four_are_under_way_before_one_is_answered() -> None:
    together = threading.Barrier(4, timeout=30)

    def answer(request: httpx.Request) -> httpx.Response:
        together.wait()  # broken, and an error, where they are asked one after the other
        return httpx.Response(200, json=ANSWERS[request.url.path])

    found = run_detail(client(answer), "mine")
    assert [(step.name, step.seconds) for step in found.steps] == [("train", 2.0)]
    assert found.progress == (40.0, "train: 4 of 10")
    assert [message for _, _, message in found.log] == ["first", "second"]


def test_a_run_speaks_for_those_that_it_started() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/flow_runs/filter":
            return httpx.Response(200, json=[{"id": "child"}])
        asked = json.loads(request.content)
        of = asked.get("logs", asked.get("artifacts", {})).get("flow_run_id", {}).get("any_")
        if request.url.path == "/api/logs/filter":
            return httpx.Response(200, json=[{**LINE, "message": "of " + ", ".join(of)}])
        data = 90.0 if of == ["mine", "child"] else None
        return httpx.Response(200, json=[{"data": data}] if request.url.path == "/api/artifacts/filter" else [])

    found = run_detail(client(answer), "mine")
    assert [message for _, _, message in found.log] == ["of mine, child"]
    assert found.progress == (90.0, "")


def test_one_that_is_refused_is_the_answer() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        refused = request.url.path == "/api/logs/filter"
        return httpx.Response(500 if refused else 200, json=ANSWERS[request.url.path])

    with pytest.raises(Refused, match="/api/logs/filter: 500"):
        run_detail(client(answer), "mine")
