import asyncio
import logging
import re
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from pydantic import SecretStr

from components.errors import LedgerError, PortTaken, RecipeError, RegistryUnavailable
from components.serving import app as gateway_app
from components.serving import failures
from components.serving.app import create_app, listen, main
from components.serving.limits import BodyLimit

from .conftest import model_ref


def ask(client: TestClient, text: str = "Shortest paths in a graph.", **more):
    return client.post("/v1/tasks/library", json={"input": text, **more})


def error_of(response) -> dict:
    return response.json()["error"]


# ---------------------------------------------------------------- answers


def test_without_a_champion_the_answer_is_404_with_the_reason(client):
    time.sleep(0.05)  # the first look at the registry
    response = ask(client)
    assert response.status_code == 404
    assert error_of(response)["code"] == "no_champion"
    assert "has passed the gate" in error_of(response)["message"]
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_an_answer_carries_its_receipt_and_is_in_the_ledger(serving, ledger):
    reply = ask(serving, subject="reader@example.org").json()
    assert reply["output"] == "1"
    assert reply["alternatives"][0] == {"label": "a", "probability": 0.75}
    assert reply["receipt"] == {
        "request_id": reply["request_id"],
        "model": "banyan-library",
        "version": 1,
        "weights_sha256": model_ref(1).weights_sha256,
        "template_sha256": "7" * 64,
        "generation": {"max_length_tokens": 64},
    }
    kept = ledger.answer(reply["request_id"])
    assert (kept.table, kept.output, kept.model_version, kept.confidence) == ("library", "1", 1, 0.75)
    assert kept.generation == {"max_length_tokens": 64}
    assert kept.subject == ledger.pseudonym("reader@example.org")
    assert ledger.raw_prompt(reply["request_id"]) == "Shortest paths in a graph."


def test_an_answer_that_the_ledger_does_not_take_is_not_given(serving, ledger, monkeypatch):
    def refuse(*_, **__):
        raise LedgerError("the disk is full")

    monkeypatch.setattr(ledger, "record_answer", refuse)
    response = ask(serving)
    assert response.status_code == 503
    assert error_of(response)["code"] == "ledger"
    assert "output" not in response.json()


def test_what_got_no_answer_by_the_gateways_fault_is_in_the_ledger_and_bad_input_is_not(serving, ledger, monkeypatch):
    def refuse(*_, **__):
        raise LedgerError("the disk is full")

    monkeypatch.setattr(ledger, "record_answer", refuse)
    assert ask(serving).status_code == 503
    assert serving.post("/v1/tasks/library", json={"input": ""}).status_code == 422
    deadline = time.monotonic() + 60
    while not ledger.num_failed("library", since=0, until=1e12):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ledger.num_failed("library", since=0, until=1e12) == 1


def test_the_models_page_tells_who_answers_and_what_it_can_say(serving):
    [model] = serving.get("/v1/models").json()["models"]
    assert (model["table"], model["version"], model["state"]) == ("library", 1, "ready")
    assert model["labels"] == ["a", "b"]
    assert model["example"] == "an example"


def test_metrics_count_by_table_and_outcome(serving):
    ask(serving)
    text = serving.get("/metrics").text
    assert 'banyan_requests_total{outcome="answered",table="library"} 1.0' in text
    assert 'banyan_champion_version{table="library"} 1.0' in text


CHAT = {"model": "broken", "messages": [{"role": "user", "content": "x"}]}
ASKED = {
    "/v1/tasks/broken": {"input": "x"},
    "/v1/tasks/broken/compare": {"input": "x"},
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "broken", "prompt": "x"},
    "/v1/embeddings": {"model": "broken@1", "input": "x"},
}


def test_every_way_of_asking_counts_a_request_without_an_answer_once(serving, aliases, champions, ledger, monkeypatch):
    load = aliases.load

    def away(table, ref):
        if table == "broken":
            raise RegistryUnavailable("the weights are away")
        return load(table, ref)

    monkeypatch.setattr(failures, "KEEP_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(champions, "_load", away)
    started = time.time()
    aliases.champions["broken"] = model_ref(1, "broken")
    until(lambda: "broken" in serving.get("/readyz").json()["models"])
    for path, body in ASKED.items():
        assert serving.post(path, json=body).status_code == 503, path
    missing = 'banyan_requests_total{outcome="GatewayUnavailable",table="broken"}'
    assert f"{missing} {len(ASKED)}.0" in serving.get("/metrics").text
    until(lambda: ledger.num_failed("broken", since=started, until=time.time() + 5) == len(ASKED))
    assert serving.post("/v1/tasks/misspelt", json={"input": "x"}).status_code == 404
    assert "misspelt" not in serving.get("/metrics").text


def until(holds) -> None:
    give_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


# ---------------------------------------------------------------- bad input


def test_what_is_too_much_or_from_a_foreign_host_is_logged_and_counted(serving, caplog):
    headers = {"content-type": "application/json"}
    with caplog.at_level(logging.WARNING, "banyan.gateway"):
        assert ask(serving, "my secret " * 2000).status_code == 413
        assert serving.post("/v1/tasks/my-secret", content=b" " * 70_000, headers=headers).status_code == 413
        assert serving.get("/v1/my-secret", headers={"host": "my-secret.example"}).status_code == 400
    assert [record.getMessage() for record in caplog.records] == [
        "refused POST /v1/tasks/{table}: too large",
        "refused POST : too large",
        "refused GET : foreign host",
    ]
    assert refusals(serving) == {"too large": 2, "foreign host": 1}


def refusals(client) -> dict[str, float]:
    found = re.findall(r'banyan_refusals_total\{reason="(.+)"\} (.+)', client.get("/metrics").text)
    return {reason: float(count) for reason, count in found}


def test_a_body_that_dribbles_in_is_408_after_a_while_and_one_that_is_whole_passes():
    told = []

    async def app(scope, receive, send):
        told.append((await receive())["body"])

    def refuse(what):
        async def refused(scope, receive, send):
            told.append(what)

        return refused

    async def send_slowly(*, num_pieces: int) -> None:
        num_sent = 0

        async def receive():
            nonlocal num_sent
            num_sent += 1
            if num_sent > num_pieces:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": b"x", "more_body": num_sent < 3}

        limited = BodyLimit(
            app, max_bytes=64, seconds=1.0, refuse_large=refuse("too large"), refuse_slow=refuse("too slow")
        )
        await asyncio.wait_for(limited({"type": "http"}, receive, None), 20)

    asyncio.run(send_slowly(num_pieces=3))
    asyncio.run(send_slowly(num_pieces=2))
    assert told == [b"x", "too slow"]


def test_a_slow_sender_is_told_so_by_the_gateway_and_counted(settings, ledger, champions, monkeypatch):
    monkeypatch.setattr(gateway_app, "BODY_SECONDS", 0.2)
    sock = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(settings, champions=champions, ledger=ledger), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        until(lambda: server.started)
        with socket.create_connection(sock.getsockname(), timeout=20) as slow:
            slow.sendall(b"POST /v1/tasks/library HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{")
            said = b""
            while piece := slow.recv(4096):  # until it is closed from there
                said += piece
        assert said.startswith(b"HTTP/1.1 408 ") and b'"too_slow"' in said
        with httpx.Client(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}") as client:
            assert refusals(client) == {"too slow": 1}
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": ""},
        {"input": "  \n"},
        {"input": 7},
        {"input": None},
        {"input": "a\x00b"},
        {"input": "x", "max_tokens": 5},
        {"input": "x", "subject": ""},
        {"input": "x", "subject": "s" * 201},
        ["x"],
    ],
)
def test_a_request_that_cannot_be_is_422(serving, ledger, body):
    response = serving.post("/v1/tasks/library", json=body)
    assert response.status_code == 422
    assert error_of(response)["code"] == "invalid"
    assert ledger.num_answers() == {}


@pytest.mark.parametrize("content", [b"not json", b"", b'{"input": "\\ud800"}', b'{"input": "\xff"}', b"[" * 60000])
def test_a_body_that_is_not_text_in_json_is_422_and_never_500(serving, content):
    response = serving.post("/v1/tasks/library", content=content, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}
    assert error_of(response)["message"]


def test_what_was_typed_is_not_echoed_in_an_error(serving):
    response = serving.post("/v1/tasks/library", json={"input": ["my secret"], "extra": "my secret"})
    assert response.status_code == 422
    assert "extra" in error_of(response)["message"]
    assert "my secret" not in response.text


def test_a_text_longer_than_the_limit_is_413(serving):
    assert ask(serving, "x" * 16_000).status_code == 200
    response = ask(serving, "x" * 16_001)
    assert response.status_code == 413
    assert error_of(response)["message"] == "the input has 16001 characters; 16000 are taken"


def test_a_body_larger_than_the_limit_is_413_even_without_a_length(serving):
    def chunks():
        for _ in range(100):
            yield b" " * 1024

    response = serving.post("/v1/tasks/library", content=chunks(), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert error_of(response)["code"] == "too_large"


def test_a_form_of_another_page_is_not_taken_for_json(serving):
    response = serving.post("/v1/tasks/library", content=b'{"input": "x"}', headers={"content-type": "text/plain"})
    assert response.status_code == 422


def test_a_page_that_calls_itself_localhost_by_another_name_is_turned_away(serving):
    assert serving.get("/v1/models", headers={"host": "evil.example"}).status_code == 400
    for name in ("localhost:8000", "[::1]:8000", "127.0.0.1"):
        assert serving.get("/v1/models", headers={"host": name}).status_code == 200


def test_a_path_that_is_not_there_is_404_in_the_same_shape(serving):
    response = serving.get("/v1/nothing")
    assert response.status_code == 404
    assert error_of(response)["code"] == "http"


def test_a_full_queue_is_429_and_what_waits_is_answered(serving, aliases):
    from concurrent.futures import ThreadPoolExecutor

    [engine] = aliases.engines
    engine.held.clear()
    with ThreadPoolExecutor(12) as threads:
        futures = [threads.submit(ask, serving)]
        assert engine.asked.wait(30)  # alone, so that the others cannot share its batch
        futures += [threads.submit(ask, serving) for _ in range(11)]
        give_up = time.monotonic() + 60
        while sum(future.done() for future in futures) < 7:  # 1 in work, 4 wait, the others are refused
            assert time.monotonic() < give_up
            time.sleep(0.01)
        engine.held.set()
        codes = sorted(future.result().status_code for future in futures)
    assert codes == [200] * 5 + [429] * 7
    assert refusals(serving) == {"busy": 7}
    assert [future.result().headers["retry-after"] for future in futures if future.result().status_code == 429]


def test_an_engine_that_fails_is_500_and_neither_reply_nor_log_quotes_the_prompt(serving, aliases, caplog):
    aliases.engines[0].error = ValueError("cannot read 'my secret'")
    with caplog.at_level(logging.DEBUG):
        response = ask(serving, "my secret")
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal"
    assert "ValueError" in caplog.text
    assert "my secret" not in response.text + caplog.text


def test_no_prompt_is_logged_on_the_way_to_an_answer(serving, caplog):
    with caplog.at_level(logging.DEBUG):
        assert ask(serving, "my secret").status_code == 200
    assert "my secret" not in caplog.text


# ---------------------------------------------------------------- feedback


def feedback(client: TestClient, request_id: str, **more):
    return client.post("/v1/feedback", json={"request_id": request_id, "kind": "approve", **more})


def test_feedback_is_kept_and_its_fate_can_be_looked_up(serving, ledger):
    request_id = ask(serving).json()["request_id"]
    response = feedback(serving, request_id, kind="correct", correction="sympy", comment="no", channel="playground")
    assert response.json()["fate"] == "received"
    feedback_id = response.json()["feedback_id"]
    [row] = ledger.feedback("library")
    assert (row.feedback_id, row.kind, row.correction, row.channel) == (feedback_id, "correct", "sympy", "playground")
    fate = serving.get(f"/v1/feedback/{feedback_id}").json()
    assert (fate["fate"], len(fate["history"])) == ("received", 1)


def test_the_same_feedback_twice_is_one_row(serving, ledger):
    request_id = ask(serving).json()["request_id"]
    for _ in range(2):
        assert feedback(serving, request_id, feedback_id="feedback-1").json()["feedback_id"] == "feedback-1"
    assert len(ledger.feedback("library")) == 1


def test_the_same_feedback_id_for_something_else_is_409(serving):
    request_id = ask(serving).json()["request_id"]
    feedback(serving, request_id, feedback_id="feedback-1")
    response = feedback(serving, request_id, feedback_id="feedback-1", kind="reject")
    assert response.status_code == 409


def test_feedback_on_an_answer_that_nobody_gave_is_404(serving):
    response = feedback(serving, "0" * 32)
    assert response.status_code == 404
    assert "no answer" in error_of(response)["message"]


def test_the_fate_of_unknown_feedback_is_404(serving):
    assert serving.get("/v1/feedback/unknown-id").status_code == 404


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "correct"},
        {"kind": "correct", "correction": "  "},
        {"kind": "approve", "correction": "sympy"},
        {"kind": "love"},
        {"feedback_id": "short"},
        {"feedback_id": "a/b" * 5},
        {"channel": "a channel"},
        {"comment": "x" * 4001},
    ],
)
def test_feedback_that_cannot_be_is_422(serving, ledger, more):
    request_id = ask(serving).json()["request_id"]
    assert feedback(serving, request_id, **more).status_code == 422
    assert ledger.feedback("library") == []


# ---------------------------------------------------------------- who may ask


def test_with_a_key_nothing_but_health_is_open(settings, ledger, champions):
    keyed = settings.model_copy(update={"api_key": SecretStr("a long key")})
    with TestClient(create_app(keyed, champions=champions, ledger=ledger), base_url="http://127.0.0.1") as client:
        for path in ("/v1/models", "/v1/feedback/some-id-1", "/metrics"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers={"authorization": "a long key"}).status_code == 401
        assert ask(client).status_code == 401
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/models", headers={"authorization": "Bearer a long key"}).status_code == 200


@pytest.mark.parametrize("key", [None, SecretStr(""), SecretStr("  ")])
def test_off_loopback_without_a_key_it_refuses_to_start(settings, champions, key):
    opened = settings.model_copy(update={"host": "0.0.0.0", "api_key": key})
    with pytest.raises(RecipeError, match=r"listen on 0\.0\.0\.0 without a key"):
        create_app(opened, champions=champions)


def test_off_loopback_the_process_ends_with_2_and_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("BANYAN_HOST", "0.0.0.0")
    assert main(["--port", "0"]) == 2
    assert capsys.readouterr().err.startswith(
        "gateway: the gateway would listen on 0.0.0.0 without a key — banyan key create "
    )
    assert list(Path(tmp_path).iterdir()) == []


def test_a_taken_port_is_named():
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_a_gateway_without_models_makes_nothing_but_the_ledger(settings, champions):
    with TestClient(create_app(settings, champions=champions), base_url="http://127.0.0.1") as client:
        client.get("/healthz")
    assert {path.name for path in settings.workspace.root.iterdir()} <= {
        "ledger.db",
        "ledger.db-shm",
        "ledger.db-wal",
        "secrets",
    }
