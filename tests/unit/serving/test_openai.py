"""OpenAI's own Python client, unchanged, against the gateway on a loopback socket, with real (tiny) models."""

import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator

import httpx
import openai
import pytest
import uvicorn

from components.errors import LedgerError
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.serving.app import create_app, listen
from components.serving.champions import Champions
from components.serving.engines import TorchEngine
from components.settings import Settings

from .tiny_models import LABELS, TEXTS, classifier, writer

LONG = 400  # tokens: a stream that is still going when the test has done what it came for


def ref(table: str, version: int = 1) -> ModelRef:
    return ModelRef(name=f"banyan-{table}", version=version, run_id="r", weights_sha256=f"{version:064d}")


@pytest.fixture(scope="module")
def engines(tmp_path_factory) -> dict[ModelRef, TorchEngine]:
    folder = tmp_path_factory.mktemp
    return {
        ref("library"): TorchEngine(ref("library"), classifier(folder("c")), task="classification"),
        ref("summary"): TorchEngine(ref("summary"), writer(folder("w")), task="summarisation"),
        ref("summary", 2): TorchEngine(ref("summary", 2), writer(folder("w2"), seed=1), task="summarisation"),
    }


class Served:
    """A gateway on a socket."""

    def __init__(self, settings: Settings, ledger: Ledger, engines: dict[ModelRef, TorchEngine]) -> None:
        self.ledger = ledger
        self.found = {"library": ref("library"), "summary": ref("summary")}
        champions = Champions(
            find=lambda: dict(self.found), load=lambda _, one: engines[one], poll_seconds=0.01, capacity=8
        )
        sock = listen("127.0.0.1", 0)
        app = create_app(settings, champions=champions, ledger=ledger)
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [sock]})
        self.thread.start()
        self.address = sock.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.until(lambda: len(self.models()) == 2)

    def models(self) -> list[dict]:
        try:
            return httpx.get(f"{self.url}/v1/models").json()["data"]
        except httpx.TransportError:
            return []

    def until(self, holds) -> None:
        give_up = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < give_up
            time.sleep(0.005)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def served(tmp_path, monkeypatch, engines) -> Iterator[Served]:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    settings = Settings()
    with Ledger(settings) as ledger:
        served = Served(settings, ledger, engines)
        yield served
        served.stop()


@pytest.fixture
def client(served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none needed", max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, text: str = TEXTS[0], model: str = "summary", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def test_the_models_are_listed_and_one_is_found(client):
    assert [(model.id, model.owned_by) for model in client.models.list()] == [
        ("library", "banyan"),
        ("summary", "banyan"),
    ]
    assert client.models.retrieve("summary").created > 1_700_000_000
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_chat_answers_as_the_task_does_and_is_in_the_ledger(client, served, engines):
    said = chat(client, user="reader@example.org")
    [answer] = engines[ref("summary")].answer([TEXTS[0]])
    assert said.choices[0].message.content == answer.output
    assert said.model == "summary@1"
    assert said.usage.completion_tokens <= 6 and said.usage.prompt_tokens > 3
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    kept = served.ledger.answer(said.id)
    assert (kept.output, kept.table, kept.model_version) == (answer.output, "summary", 1)
    assert kept.finish_reason == said.choices[0].finish_reason
    assert kept.subject == served.ledger.pseudonym("reader@example.org")
    assert said.receipt["request_id"] == said.id
    assert served.ledger.raw_prompt(said.id) == TEXTS[0]


def test_a_stream_says_the_same_piece_by_piece_and_is_durable_before_its_end(client, served):
    whole = chat(client, max_tokens=30)
    pieces, finishes, usages, kept = [], [], [], None
    for chunk in chat(client, max_tokens=30, stream=True, stream_options={"include_usage": True}):
        if chunk.usage:
            usages.append(chunk.usage)
            continue
        pieces.append(chunk.choices[0].delta.content or "")
        if chunk.choices[0].finish_reason:
            kept = served.ledger.answer(chunk.id)  # before the stream has ended
            finishes.append(chunk.choices[0].finish_reason)
            assert chunk.receipt["generation"]["max_new_tokens"] == 30
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 3
    assert finishes == [whole.choices[0].finish_reason] == [kept.finish_reason]
    assert kept.output == "".join(pieces)
    assert usages == [whole.usage]


def test_a_completion_and_its_stream_say_the_same(client):
    whole = client.completions.create(model="summary", prompt=TEXTS[1], max_tokens=12)
    told = client.completions.create(model="summary", prompt=[TEXTS[1]], max_tokens=12, stream=True)
    assert "".join(chunk.choices[0].text for chunk in told) == whole.choices[0].text
    assert whole.object == "text_completion"


def test_a_seed_repeats_a_drawn_answer_and_stands_in_the_receipt(client):
    how = {"temperature": 1.8, "top_p": 0.9, "max_tokens": 12}
    drawn = chat(client, **how)
    seed = drawn.receipt["generation"]["seed"]
    assert chat(client, seed=seed, **how).choices[0].message.content == drawn.choices[0].message.content
    assert len({chat(client, seed=s, **how).choices[0].message.content for s in range(5)}) > 1


def test_an_answer_ends_before_what_it_is_told_to_stop_at(client):
    whole = chat(client, max_tokens=30).choices[0].message.content
    stop = whole[5:8]
    cut = chat(client, max_tokens=30, stop=[stop])
    assert cut.choices[0].message.content == whole[: whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_a_classifier_answers_whole_and_streams_in_one_piece(client):
    said = chat(client, model="library")
    assert said.choices[0].message.content in LABELS
    told = list(chat(client, model="banyan-library", stream=True))
    assert told[0].choices[0].delta.content == said.choices[0].message.content
    assert told[-1].choices[0].finish_reason == "stop"
    assert said.usage.prompt_tokens > 0


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("library", {"temperature": 0.5}),
        ("library", {"max_tokens": 5}),
        ("summary", {"max_tokens": 100_000}),
        ("summary", {"n": 2}),
        ("summary", {"temperature": 3}),
        ("summary", {"top_p": 0}),
        ("summary", {"logprobs": True}),
        ("summary", {"presence_penalty": 1}),
        ("summary", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("summary", {"response_format": {"type": "json_object"}}),
        ("summary", {"max_tokens": 5, "max_completion_tokens": 6}),
        ("summary", {"stream_options": {"include_usage": True}}),
        ("summary", {"stop": ["a"] * 5}),
        ("summary", {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "x"}]}),
        ("summary", {"messages": [{"role": "user", "content": "  "}]}),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_a_reason(client, served, model, more):
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        chat(client, **({"model": model} | more)) if "messages" not in more else client.chat.completions.create(
            model=model, **more
        )
    assert refused.value.body["message"]
    assert served.ledger.answers() == []


def test_a_model_that_is_not_there_and_a_version_that_does_not_serve_are_404(client):
    for name in ("nobody", "summary@7"):
        with pytest.raises(openai.NotFoundError):
            chat(client, model=name)
    assert chat(client, model="summary@1").model == "summary@1"


def test_embeddings_come_as_numbers_and_as_the_clients_own_base64(client, served, engines):
    wanted = engines[ref("library")].embed(TEXTS)
    found = client.embeddings.create(model="library", input=TEXTS)  # the client asks for base64, and decodes it
    for row, vector in zip(found.data, wanted, strict=True):
        assert row.embedding == pytest.approx(vector, abs=1e-6)
    assert found.usage.total_tokens > 3
    raw = httpx.post(
        f"{served.url}/v1/embeddings", json={"model": "library", "input": "x", "encoding_format": "base64"}
    )
    packed = base64.b64decode(raw.json()["data"][0]["embedding"])
    assert struct.unpack("<16f", packed) == pytest.approx(engines[ref("library")].embed(["x"])[0], abs=1e-5)
    with pytest.raises(openai.UnprocessableEntityError, match="has no embeddings"):
        client.embeddings.create(model="summary", input="x")
    with pytest.raises(openai.UnprocessableEntityError, match="16 dimensions"):
        client.embeddings.create(model="library", input="x", dimensions=8)


def test_a_client_that_leaves_stops_its_text_and_the_ledger_says_so(client, served, engines):
    decoder = engines[ref("summary")].decoder
    stream = chat(client, max_tokens=LONG, stream=True)
    first = next(iter(stream))
    stream.close()
    served.until(lambda: served.ledger.answer(first.id) is not None)
    kept = served.ledger.answer(first.id)
    assert kept.finish_reason == "cancelled"
    assert kept.output.startswith(first.choices[0].delta.content)
    assert decoder.num_rows == 0


def raw_stream(served: Served, max_tokens: int) -> socket.socket:
    """A client that asks for a stream, and reads nothing."""
    sock = socket.create_connection(served.address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    message = [{"role": "user", "content": TEXTS[0]}]
    body = json.dumps({"model": "summary", "messages": message, "stream": True, "max_tokens": max_tokens}).encode()
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{headers}".encode() + body)
    return sock


def test_clients_that_read_nothing_hold_nobody_up(client, served):
    slow = [raw_stream(served, LONG) for _ in range(3)]
    said = [chat(client, text, max_tokens=5) for text in TEXTS]
    assert all(one.choices[0].finish_reason in ("length", "stop") for one in said)
    served.until(lambda: served.ledger.num_answers() == {("banyan-summary", 1): 6})  # theirs are written and kept, too
    assert all(answer.finish_reason != "cancelled" for answer in served.ledger.answers())
    for one in slow:
        one.close()


def test_a_stream_that_began_before_a_swap_is_wholly_of_its_version(client, served, engines):
    wanted = chat(client, max_tokens=120).choices[0].message.content
    stream = iter(chat(client, max_tokens=120, stream=True))
    first = next(stream)
    served.found["summary"] = ref("summary", 2)
    served.until(lambda: chat(client, max_tokens=2).model == "summary@2")
    rest = list(stream)
    assert {chunk.model for chunk in [first, *rest]} == {"summary@1"}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in [first, *rest]) == wanted
    assert served.ledger.answer(first.id).weights_sha256 == ref("summary", 1).weights_sha256


def test_a_stream_whose_answer_cannot_be_kept_ends_in_an_error_and_not_in_done(client, served, monkeypatch):
    def refuse(*_, **__):
        raise LedgerError("the disk is full")

    monkeypatch.setattr(served.ledger, "record_answer", refuse)
    with pytest.raises(openai.APIError, match="the ledger did not take it"):
        list(chat(client, stream=True))
    with pytest.raises(openai.InternalServerError) as failed:
        chat(client)
    assert failed.value.status_code == 503


def test_a_full_queue_sheds_with_429_and_says_when_to_come_again(served, engines):
    statuses: list[int] = []
    waits: set[str] = set()

    def ask() -> None:
        body = {"model": "summary", "prompt": "x", "max_tokens": 100}
        answer = httpx.post(f"{served.url}/v1/completions", json=body, timeout=60)
        statuses.append(answer.status_code)
        waits.add(answer.headers.get("retry-after", ""))

    engines[ref("summary")].decoder.max_rows = 1
    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    engines[ref("summary")].decoder.max_rows = 32
    assert set(statuses) == {200, 429}
    assert waits == {"", "1"}
    assert statuses.count(200) >= 8
    assert sum(served.ledger.num_answers().values()) == statuses.count(200)
