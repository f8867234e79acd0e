"""Half-broken installations: each is told with what is wrong, why, and what mends it."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.settings import Settings
from components.supervisor import MARKER, Service, Supervisor, claim, free_port, read_stack
from flows import doctor, health, health_services, status
from flows.deployments import DEPLOYMENTS, load_flow

SLEEP = (sys.executable, "-Sc", "import time; time.sleep(60)")
HANGS = """
import http.server, pathlib, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(60 if pathlib.Path(sys.argv[2]).exists() else 0)
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
LISTENS = """
import socket, sys, time
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("on", flush=True)
time.sleep(60)
"""
HOLDS = """
import sqlite3, sys, time
ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
ledger.execute("BEGIN IMMEDIATE")
print("on", flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("BANYAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.3)
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")


@contextlib.contextmanager
def supervised(settings, *services):
    supervisor = Supervisor(services, workspace=settings.workspace, lock=claim(settings.workspace))
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


@contextlib.contextmanager
def program(text, *words, env=None):
    """A process that has said that it is ready."""
    command = [sys.executable, "-Sc", text, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}) as process:
        process.stdout.readline()
        yield process
        process.send_signal(signal.SIGCONT)
        process.kill()


def found(settings, part):
    return [one for one in health.examine(settings) if one.part == part]


def row(settings, **about):
    known = {"name": "mlflow", "state": "ready", "pid": None, "url": None, "health_url": None, "restarts": 0}
    return known | {"log": str(settings.workspace.logs / "mlflow.log")} | about


def of_this_process(settings, *rows):
    """A stack file as this process would write it as a supervisor."""
    with supervised(settings, Service("sleeper", SLEEP)):
        stack = read_stack(settings)
    settings.workspace.stack_file.write_text(json.dumps(stack | {"services": list(rows), "urls": {}}))


def test_nothing_is_wrong_where_nothing_is(settings):
    assert health.examine(settings) == []
    assert not settings.workspace.root.exists()


def test_a_stack_that_runs_as_it_should_has_no_finding(settings):
    port = free_port(21500, host="127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    web = Service(
        "mlflow", (sys.executable, "-Sm", "http.server", str(port), "--bind", "127.0.0.1"), url=url, health_url=url
    )
    with supervised(settings, web):
        assert health.examine(settings) == []


def test_the_files_of_a_killed_supervisor_are_not_taken_for_a_running_stack(settings):
    of_this_process(settings, row(settings))
    stack = read_stack(settings)
    ours = {MARKER: str(settings.workspace.root)}
    with program("import time; print('on', flush=True); time.sleep(60)", env=ours) as left:
        settings.workspace.stack_file.write_text(json.dumps(stack | {"pid": left.pid}))  # an id that came again
        [one] = found(settings, "stack")
        assert f"process {left.pid} that ran it is gone" in one.what and "1 of its processes run on" in one.what
        assert "banyan up" in one.remedy
    checks = {check.name: check for check in doctor.examine(settings)}
    assert checks["stack"].found == "not running"
    lines = "\n".join(status.collect(settings).lines())
    assert "The stack is not running" in lines and "is gone without having stopped it" in lines


def test_a_service_that_is_stopped_is_told_from_one_that_works(settings):
    with supervised(settings, Service("relay", SLEEP)):
        pid = read_stack(settings)["services"][0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: found(settings, "relay"))
        [one] = found(settings, "relay")
        os.kill(pid, signal.SIGCONT)
        assert "SIGSTOP" in one.what and one.remedy == f"kill -CONT {pid}"
        until(lambda: not found(settings, "relay"))


def test_a_run_that_is_stopped_is_said_with_its_process(settings):
    ours = {MARKER: str(settings.workspace.root), health.RUN_ID: "a-run"}
    with supervised(settings, Service("sleeper", SLEEP)), program(LISTENS, "0", env=ours) as run:
        assert found(settings, "run") == []
        run.send_signal(signal.SIGSTOP)
        until(lambda: found(settings, "run"))
        [one] = found(settings, "run")
    assert f"run a-run is stopped (SIGSTOP) as process {run.pid}" in one.what and f"kill -CONT {run.pid}" in one.remedy


def test_a_service_that_hangs_is_said_with_its_process_and_its_log(settings, tmp_path):
    port = free_port(21520, host="127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    argv = (sys.executable, "-Sc", HANGS, str(port), str(tmp_path / "hang"))
    with supervised(settings, Service("mlflow", argv, url=url, health_url=url)):
        assert found(settings, "mlflow") == []
        (tmp_path / "hang").touch()
        [one] = found(settings, "mlflow")
        pid = read_stack(settings)["services"][0]["pid"]
    assert "does not answer" in one.what and f"kill -9 {pid}" in one.remedy and "mlflow.log" in one.remedy


def test_a_port_that_somebody_else_holds_is_said_with_who_it_is(settings):
    port = free_port(21540, host="127.0.0.1")
    with program(LISTENS, str(port)) as other:
        for state, level in (("down", "missing"), ("failed", "missing")):
            of_this_process(settings, row(settings, state=state, url=f"http://127.0.0.1:{port}", restarts=3))
            [one] = found(settings, "mlflow")
            assert f"port {port} is held by process {other.pid}" in one.what and one.level == level
            assert one.remedy.startswith(f"end process {other.pid}")
        taken = {check.name: check.found for check in doctor.examine(settings.model_copy(update={"mlflow_port": port}))}
        assert f"process {other.pid}" in taken.get("ports", "") or "stack" in taken


def test_a_service_that_is_being_started_again_says_why_it_died(settings):
    settings.workspace.logs.mkdir(parents=True)
    (settings.workspace.logs / "mlflow.log").write_text("first\nsqlite3.OperationalError: disk I/O error\n\n")
    of_this_process(settings, row(settings, state="down", restarts=2))
    [one] = found(settings, "mlflow")
    assert "down after 2 restarts; its log ends: sqlite3.OperationalError: disk I/O error" in one.what
    assert (one.level, one.remedy[:5]) == ("note", "wait:")
    of_this_process(settings, row(settings, state="failed", restarts=6))
    [one] = found(settings, "mlflow")
    assert one.level == "missing" and "banyan up" in one.remedy and "mlflow.log" in one.remedy


@pytest.mark.parametrize("harm", ["text", "cut", "bytes"])
def test_a_damaged_ledger_is_said_with_the_way_back(settings, harm):
    with Ledger(settings):
        pass
    path = settings.workspace.ledger
    whole = path.read_bytes()
    harmed = {
        "text": b"not a database at all " * 500,
        "cut": whole[:5000],
        "bytes": whole[:4096] + bytes(len(whole) - 4096),
    }
    path.write_bytes(harmed[harm])
    [one] = found(settings, "ledger")
    assert "damaged" in one.what and "banyan restore" in one.remedy
    facts = status.collect(settings)
    assert facts.problems == [], "it was asked again although it is known to be damaged"


def test_a_ledger_that_a_stopped_process_keeps_locked_is_said_with_that_process(settings):
    with Ledger(settings):
        pass
    with program(HOLDS, str(settings.workspace.ledger)) as holder:
        holder.send_signal(signal.SIGSTOP)
        until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED)
        [one] = found(settings, "ledger")
        assert "locked" in one.what and f"{holder.pid} (" in one.what and "stopped" in one.what
        assert "kill -CONT" in one.remedy
    assert found(settings, "ledger") == []


def test_a_move_that_was_not_finished_and_a_chain_that_was_changed_are_said(settings):
    entry = {"move_id": "m", "action": "promote", "name": "banyan-library", "alias": "champion", "from_version": None}
    entry |= {
        "to_version": 1,
        "weights_sha256": "0" * 64,
        "actor": "gate",
        "evidence": {},
        "note": "",
        "state": "intended",
    }
    with Ledger(settings) as ledger:
        Journal(ledger, settings.workspace).head_file.write_text("0" * 64)
        ledger.append_journal(entry)
    [one] = found(settings, "journal")
    assert "banyan-library to v1" in one.what and one.level == "note"
    with sqlite3.connect(settings.workspace.ledger) as ledger:
        ledger.execute("UPDATE journal SET hash = 'x'")
    assert any("was changed" in one.what and one.level == "missing" for one in found(settings, "journal"))


def test_a_disk_that_is_nearly_full_is_said_before_it_is(settings, monkeypatch):
    settings.workspace.root.mkdir(parents=True)
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: SimpleNamespace(free=2e8))
    [one] = found(settings, "disk")
    assert "0.20 GB" in one.what and "free some space" in one.remedy


def test_deployments_are_named_as_prefect_names_them():
    assert health_services.deployment_names() == [f"{load_flow(one.entrypoint).name}/{one.pool}" for one in DEPLOYMENTS]


@pytest.mark.slow
def test_prefect_without_our_deployments_a_paused_pool_and_a_stopped_worker_are_said(small_stack):
    settings = small_stack.settings
    registered = small_stack.api.get("/deployments/name/ingest/cpu")
    if registered.is_success:  # another test of this process has registered everything
        small_stack.call("DELETE", f"/deployments/{registered.json()['id']}")
    until(lambda: any("lacks the deployments ingest/cpu" in one.what for one in found(settings, "prefect")))
    until(lambda: found(settings, "worker") == [])
    small_stack.call("PATCH", "/work_pools/cpu", {"is_paused": True})
    until(lambda: any("paused" in one.what for one in found(settings, "prefect")))
    small_stack.call("PATCH", "/work_pools/cpu", {"is_paused": False})
    worker = psutil.Process(small_stack.pid("worker"))
    until(worker.children)
    polls = worker.children()[0]
    polls.suspend()
    try:
        until(lambda: found(settings, "worker"))
        [one] = found(settings, "worker")
        assert one.remedy == f"kill -CONT {polls.pid}"
    finally:
        polls.resume()


@pytest.mark.slow
def test_a_worker_without_a_heartbeat_is_said(small_stack, monkeypatch):
    monkeypatch.setattr(health_services, "WORKER_SECONDS", -1.0)  # as long ago as that any heartbeat is
    until(lambda: "last heartbeat was" in found(small_stack.settings, "worker")[0].what)
    [one] = found(small_stack.settings, "worker")
    assert "its last heartbeat was" in one.what and "kill -9" in one.remedy


def until(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
