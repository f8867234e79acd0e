"""A Prefect server that asks for a key gets it from every part of ours that talks to it."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from components.errors import StackError
from components.ledger import outbox
from components.ledger.store import Ledger
from components.recipes import parse_recipe
from components.refs import ModelRef
from components.settings import Settings
from components.supervisor import addresses, free_port
from dashboard.stores import Stores
from flows import health_services
from flows.heartbeat import Heartbeat
from flows.remote import Prefect

KEY = "operators:with:a secret"


class Asking(ThreadingHTTPServer):
    """Answers 401 to whoever does not show the key, as Prefect's server does; else as little as will do."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port(12500, host="127.0.0.1")), Asked)
        self.let_in: list[str] = []
        self.refused: list[str] = []
        self.has_let_in = threading.Event()


class Asked(BaseHTTPRequestHandler):
    server: Asking
    answers: ClassVar = {"/api/work_pools/cpu": b'{"is_paused": false}', "/api/work_pools/cpu/workers/filter": b"[]"}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        scheme, _, shown = self.headers.get("Authorization", "").partition(" ")
        is_known = scheme == "Basic" and base64.b64decode(shown) == KEY.encode()
        (self.server.let_in if is_known else self.server.refused).append(self.path)
        self.send_response(200 if is_known else 401)
        self.end_headers()
        empty = b"[]" if self.command == "POST" else b"{}"
        self.wfile.write(self.answers.get(self.path, empty) if is_known else b'{"exception_message": "Unauthorized"}')
        if is_known:
            self.server.has_let_in.set()

    do_GET = do_POST

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Asking]:
    server = Asking()
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def settings(server, tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", KEY)
    url = f"http://127.0.0.1:{server.server_port}"
    nowhere = f"http://127.0.0.1:{free_port(12900, host='127.0.0.1')}"
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace", prefect_url=url, mlflow_url=nowhere)


def the_command_line(settings: Settings) -> None:
    assert Prefect(settings).is_served("cpu") is False


def the_dashboard(settings: Settings) -> None:
    assert Stores(settings).orchestration().runs == ()


def banyan_status(settings: Settings) -> None:
    said = health_services.prefect(addresses(settings), worker_seconds=None)
    assert not any("does not answer" in one.what or "lacks" in one.what for one in said)


def the_supervisors_look_at_the_worker(settings: Settings) -> None:
    Heartbeat(str(settings.prefect_url), pool="cpu", worker="banyan").is_heard()


ASKING = [the_command_line, the_dashboard, banyan_status, the_supervisors_look_at_the_worker]


@pytest.mark.parametrize("ask", ASKING, ids=lambda ask: ask.__name__)
def test_whoever_of_ours_asks_shows_the_key(ask, server, settings):
    ask(settings)
    assert server.let_in and not server.refused


def test_the_relay_shows_the_key(server, settings):
    with Ledger(settings) as ledger:
        ledger.record_answer(
            request_id="r1",
            table="things",
            model=ModelRef(name="banyan-things", version=1, run_id="run", weights_sha256="0" * 64),
            template_sha256="7" * 64,
            generation={},
            text="a pear",
            output="fruit",
            confidence=0.5,
            alternatives=(),
            subject=None,
            seconds=0.1,
        )
        ledger.record_feedback("f1", request_id="r1", kind="approve", subject="reader", channel="api")
    stop = threading.Event()
    given = {"stop": stop, "poll_seconds": 0.05}
    relay = threading.Thread(target=outbox.run, args=(settings, parse_recipe({"kind": "trigger"})), kwargs=given)
    relay.start()
    has_come = server.has_let_in.wait(20)
    stop.set()
    relay.join()
    assert has_come and server.let_in[0] == "/api/events" and not server.refused


def test_without_the_key_it_is_said_what_to_set(server, settings, monkeypatch):
    monkeypatch.delenv("PREFECT_API_AUTH_STRING")
    with pytest.raises(StackError, match="asks for a key") as caught:
        Prefect(settings).is_served("cpu")
    assert "PREFECT_API_AUTH_STRING" in caught.value.remedy
