"""The command line's own client against a real Prefect server and worker."""

import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from components.errors import ServiceDown, StackError
from components.settings import Settings
from components.supervisor import free_port
from flows.remote import Prefect


@pytest.fixture
def prefect(small_stack):
    return Prefect(small_stack.settings)


def test_a_run_is_started_followed_to_its_end_and_its_steps_are_named(prefect, tmp_path):
    run_id = prefect.start("staged/cpu", {"folder": str(tmp_path), "num_steps": 2})
    seen = []
    run = prefect.follow(run_id, seen=seen.append, poll_seconds=0.2)
    assert (run.state, run.is_over) == ("COMPLETED", True)
    assert re.fullmatch(r"staged 2 · \d\d-\d\d \d\d:\d\d", run.name), "what it does, and when"
    assert [step.name for step in run.steps] == ["prepare", "train"]
    assert seen[-1] == run and run_id in prefect.page(run_id)


def test_a_run_that_is_not_over_is_found_and_one_that_is_over_is_not(prefect, tmp_path):
    assert prefect.unfinished("staged/cpu") is None
    run_id = prefect.start("staged/cpu", {"folder": str(tmp_path), "num_steps": 3})
    assert prefect.unfinished("staged/cpu") == run_id
    prefect.follow(run_id, seen=lambda run: None, poll_seconds=0.2)
    assert prefect.unfinished("staged/cpu") is None


def test_a_deployment_that_is_not_there_is_named(prefect):
    with pytest.raises(StackError, match="there is no deployment staged/gpu"):
        prefect.start("staged/gpu", {})


def test_a_parameter_that_a_flow_does_not_take_is_refused_before_it_runs(prefect, tmp_path):
    with pytest.raises(StackError, match="refused"):
        prefect.start("staged/cpu", {"folder": str(tmp_path), "num_steps": "many"})


# ---------------------------------------------------------------- a server that is not there, or not now


class Answers(BaseHTTPRequestHandler):
    """What Prefect says on SQLite when it is busy, twice; then an empty list."""

    num_busy = 2

    def do_POST(self):
        type(self).num_busy -= 1
        self.send_response(503 if self.num_busy >= 0 else 200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *args): ...


def client(tmp_path, port):
    return Prefect(Settings(BANYAN_WORKSPACE=tmp_path, prefect_url=f"http://127.0.0.1:{port}"))


def test_a_server_that_is_started_again_meanwhile_is_waited_for(tmp_path, monkeypatch):
    port = free_port(12000, host="127.0.0.1")
    started, pauses = [], []

    def pause(seconds):
        pauses.append(seconds)
        if not started:
            started.append(HTTPServer(("127.0.0.1", port), Answers))
            threading.Thread(target=started[0].serve_forever, daemon=True).start()

    monkeypatch.setattr("flows.remote.time.sleep", pause)
    assert client(tmp_path, port).call("POST", "/artifacts/filter", {}) == []
    assert len(pauses) == 3  # not there, busy, busy
    started[0].shutdown()
    started[0].server_close()


def test_a_stack_that_is_gone_is_told_without_waiting(tmp_path, monkeypatch):
    gone = client(tmp_path, free_port(12000, host="127.0.0.1"))
    gone._settings = Settings(BANYAN_WORKSPACE=tmp_path)
    monkeypatch.setattr("flows.remote.time.sleep", lambda seconds: pytest.fail("it waited for nobody"))
    with pytest.raises(ServiceDown, match="does not answer"):
        gone.read("any")
