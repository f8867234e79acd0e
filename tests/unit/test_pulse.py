"""A service that lives and does not work is told from one that is busy, and is restarted with the reason."""

import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from components import pulse
from components.pulse import Watched, look
from components.settings import Settings
from components.supervisor import Service, Supervisor, claim, free_port, read_stack
from flows.heartbeat import Heartbeat

SLEEP = (sys.executable, "-Sc", "import time; time.sleep(60)")
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-Sm", "http.server", sys.argv[1], "--bind", "127.0.0.1"])
child.wait()
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("BANYAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(pulse, "CHECK_SECONDS", 0.3)
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")


@contextmanager
def supervised(settings, *services, hung_checks, on_event=lambda _: None):
    lock = claim(settings.workspace)
    supervisor = Supervisor(
        services, workspace=settings.workspace, lock=lock, on_event=on_event, hung_checks=hung_checks
    )
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def services(settings):
    return {one["name"]: one for one in read_stack(settings)["services"]}


def is_over(process):
    """Also where whoever inherited it has not yet buried it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("has_url", [True, False])
def test_a_stopped_service_is_restarted_and_the_reason_said(settings, has_url):
    heard = []
    port = free_port(21600, host="127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    web = (sys.executable, "-Sm", "http.server", str(port), "--bind", "127.0.0.1")
    service = Service("gateway", web, url=url, health_url=url) if has_url else Service("relay", SLEEP)
    with supervised(settings, service, hung_checks=2, on_event=heard.append):
        before = services(settings)[service.name]["pid"]
        os.kill(before, signal.SIGSTOP)
        until(lambda: services(settings)[service.name]["pid"] not in (None, before))
        assert services(settings)[service.name]["restarts"] == 1 and not psutil.pid_exists(before)
        until(lambda: services(settings)[service.name]["state"] == "ready")
    [said] = [line for line in heard if "hung" in line]
    assert said.startswith(f"{service.name} hung (2 checks in a row") and "restarting it" in said


def test_a_service_that_goes_on_within_its_patience_or_where_nobody_watches_is_left_alone(settings):
    with supervised(settings, Service("relay", SLEEP), hung_checks=30) as supervisor:
        pid = services(settings)["relay"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: supervisor._pulse.missed(pid) >= 2)
        os.kill(pid, signal.SIGCONT)
        until(lambda: supervisor._pulse.missed(pid) == 0)
        assert services(settings)["relay"] | {"pid": pid, "restarts": 0} == services(settings)["relay"]
    before = set(threading.enumerate())
    with supervised(settings, Service("relay", SLEEP), hung_checks=0):
        assert {thread.name for thread in set(threading.enumerate()) - before} == {"supervisor"}


def test_what_is_known_to_hang_by_other_means_is_restarted(settings):
    well = threading.Event()
    well.set()
    worker = Service("worker", SLEEP, is_well=well.is_set)
    with supervised(settings, worker, hung_checks=2) as supervisor:
        before = services(settings)["worker"]["pid"]
        well.clear()
        until(lambda: services(settings)["worker"]["pid"] not in (None, before))
        well.set()
        until(lambda: supervisor._pulse.missed(services(settings)["worker"]["pid"]) == 0)


def test_the_child_of_a_killed_service_does_not_keep_its_port(settings):
    """As MLflow's: its command starts a server, and killed leaves it behind."""
    port = free_port(21620, host="127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    service = Service("mlflow", (sys.executable, "-Sc", PARENT, str(port)), url=url, health_url=url)
    with supervised(settings, service, hung_checks=0):
        before = services(settings)["mlflow"]["pid"]
        [child] = psutil.Process(before).children()
        os.kill(before, signal.SIGKILL)
        until(lambda: services(settings)["mlflow"]["pid"] not in (None, before))
        until(lambda: services(settings)["mlflow"]["state"] == "ready")
        assert is_over(child) and services(settings)["mlflow"]["restarts"] == 1


def test_runs_of_a_killed_worker_go_on(settings):
    code = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    worker = Service("worker", (sys.executable, "-Sc", code, *SLEEP), leaves_children=True)
    with supervised(settings, worker, hung_checks=0):
        before = services(settings)["worker"]["pid"]
        until(lambda: psutil.Process(before).children())
        [run] = psutil.Process(before).children()
        os.kill(before, signal.SIGKILL)
        until(lambda: services(settings)["worker"]["pid"] not in (None, before))
        assert not is_over(run)
    until(lambda: is_over(run))


@contextmanager
def server(said):
    """Answers each request with what `said` gives: a body, or None for 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = said()
            self.send_response(200 if body is not None else 503)
            self.end_headers()
            self.wfile.write((body or "").encode())

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def test_where_nobody_answers_nobody_hangs():
    """The machine, or its network, is away."""
    is_there = threading.Event()
    is_there.set()
    with server(lambda: None) as silent, server(lambda: "" if is_there.is_set() else None) as other:
        watched = [Watched(1, silent), Watched(2, other)]
        missed = look(watched, {}, timeout_seconds=5)
        assert missed == {1: 1, 2: 0}, "the other one is a witness"
        is_there.clear()
        assert look(watched, missed, timeout_seconds=5) == {1: 1, 2: 0}
        is_there.set()
        assert look(watched, missed, timeout_seconds=5) == {1: 2, 2: 0}
        assert look(watched[:1], {1: 2}, timeout_seconds=5) == {1: 3}, "alone it has no witness to wait for"


def test_a_worker_that_prefect_has_not_heard_of_for_long_is_silent():
    workers = [{"name": "another", "last_heartbeat_time": "0"}, {"name": "banyan", "last_heartbeat_time": "1"}]
    said = {"body": json.dumps(workers)}
    with server(lambda: said["body"]) as url:
        heartbeat = Heartbeat(url, pool="cpu", worker="banyan", silent_seconds=0.0)
        assert heartbeat.is_heard(), "that one may be of the day before"
        workers[1]["last_heartbeat_time"] = "2"
        said["body"] = json.dumps(workers)
        assert not heartbeat.is_heard(), "no second of silence is allowed here"
        assert Heartbeat(url, pool="cpu", worker="banyan").is_heard()
        said["body"] = None
        assert heartbeat.is_heard(), "Prefect is away: nobody can tell"
