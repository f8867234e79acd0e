"""A champion swap under load, over HTTP, on a real server."""

import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from components.serving.app import create_app, listen
from components.serving.champions import Champions
from components.serving.engines import TorchEngine

from .conftest import VersionEngine, model_ref
from .tiny_models import TEXTS, writer

NUM_CLIENTS = 8
NUM_REQUESTS = 25  # a client


class SlowEngine(VersionEngine):
    """Takes 2 ms a batch, and notices when somebody asks it after it was let go."""

    def answer(self, texts):
        time.sleep(0.002)
        return super().answer(texts)


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The gateway on a socket; its address."""
    sock = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def url(settings, ledger, aliases) -> Iterator[str]:
    champions = Champions(find=aliases.find, load=lambda _, ref: SlowEngine(ref), poll_seconds=0.005)
    with served(create_app(settings, champions=champions, ledger=ledger)) as url:
        yield url


def test_swaps_under_load_drop_no_request_and_mix_no_versions(url, aliases, ledger):
    aliases.champions["library"] = model_ref(1)
    with httpx.Client(base_url=url) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
    replies: list[httpx.Response] = []
    finished = threading.Event()

    def ask_on(_: int) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            for i in range(NUM_REQUESTS):
                replies.append(client.post("/v1/tasks/library", json={"input": f"text {i}"}))

    def swap_on() -> int:
        version = 1
        while not finished.wait(0.03):
            version += 1
            aliases.champions["library"] = model_ref(version)
        return version

    with ThreadPoolExecutor(NUM_CLIENTS + 1) as threads:
        swapping = threads.submit(swap_on)
        for future in [threads.submit(ask_on, i) for i in range(NUM_CLIENTS)]:
            future.result(60)
        finished.set()
        assert swapping.result(10) >= 3, "too fast to have swapped"

    assert Counter(reply.status_code for reply in replies) == {200: NUM_CLIENTS * NUM_REQUESTS}
    said = Counter(reply.json()["receipt"]["version"] for reply in replies)
    assert len(said) >= 3
    for reply in replies:
        assert reply.json()["output"] == str(reply.json()["receipt"]["version"])
        assert reply.json()["receipt"]["weights_sha256"] == model_ref(reply.json()["receipt"]["version"]).weights_sha256
    assert ledger.num_answers("library") == {("banyan-library", version): count for version, count in said.items()}
    assert len({reply.json()["request_id"] for reply in replies}) == len(replies)


NUM_WRITERS = 4
NUM_TOKENS = 24


class Pause:
    """Holds one version in the middle of its texts while it is on."""

    def __init__(self) -> None:
        self.off, self.holds, self.version = threading.Event(), threading.Event(), 0
        self.off.set()

    def on(self, version: int) -> None:
        """Begins; returns once that version has begun a text and is held."""
        self.version = version
        self.holds.clear()
        self.off.clear()
        assert self.holds.wait(120), f"version {version} writes nothing"

    def over(self, engine: TorchEngine) -> TorchEngine:
        def before(_, __, given) -> None:
            has_begun = given["input_ids"].shape[1] == 1  # a further token of texts that are in the batch
            if has_begun and engine.ref.version == self.version and not self.off.is_set():
                self.holds.set()
                assert self.off.wait(120)

        engine._model.base_model.register_forward_pre_hook(before, with_kwargs=True)
        return engine


def streamed(client: httpx.Client, text: str) -> tuple[set[str], str, dict]:
    """One streamed chat: who its pieces say they are of, the text, the receipt."""
    body = {"model": "summary", "stream": True, "messages": [{"role": "user", "content": text}]}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.status_code == 200
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert lines[-1] == "[DONE]", lines[-1]
    chunks = [json.loads(line) for line in lines[:-1]]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    return {chunk["model"] for chunk in chunks}, said, chunks[-1]["receipt"]


def test_a_swap_in_the_middle_of_streamed_texts_ends_none_and_each_is_wholly_of_one_version(
    settings, ledger, aliases, tmp_path
):
    pause = Pause()
    engines = {
        version: pause.over(
            TorchEngine(
                model_ref(version, "summary"),
                writer(tmp_path / str(version), max_new_tokens=NUM_TOKENS, seed=version),
                task="summarisation",
            )
        )
        for version in (1, 2, 3, 4)
    }
    right = {version: {text: engine.answer([text])[0].output for text in TEXTS} for version, engine in engines.items()}
    assert all(len({right[version][text] for version in engines}) == len(engines) for text in TEXTS)
    champions = Champions(find=aliases.find, load=lambda _, ref: engines[ref.version], poll_seconds=0.005)
    aliases.champions["summary"] = model_ref(1, "summary")
    heard: list[tuple[str, set[str], str, dict]] = []
    finished = threading.Event()

    def listen_on(url: str) -> None:
        with httpx.Client(base_url=url, timeout=120) as client:
            texts = itertools.cycle(TEXTS)
            while not finished.is_set():
                heard.append((text := next(texts), *streamed(client, text)))
            heard.append((TEXTS[0], *streamed(client, TEXTS[0])))  # of the last version, whoever was slow before

    def until_answers(client: httpx.Client, version: int) -> None:
        give_up = time.monotonic() + 60
        while [one.get("version") for one in client.get("/v1/models").json()["models"]] != [version]:
            assert time.monotonic() < give_up
            time.sleep(0.005)

    with served(create_app(settings, champions=champions, ledger=ledger)) as url, httpx.Client(base_url=url) as client:
        until_answers(client, 1)
        with ThreadPoolExecutor(NUM_WRITERS) as threads:
            try:
                listening = [threads.submit(listen_on, url) for _ in range(NUM_WRITERS)]
                for version in (2, 3, 4):
                    pause.on(version - 1)
                    aliases.champions["summary"] = model_ref(version, "summary")
                    until_answers(client, version)  # while texts of the one before are half written
                    pause.off.set()
            finally:
                pause.off.set()
                finished.set()
            for one in listening:
                one.result(120)

    for text, models, said, receipt in heard:
        version = receipt["version"]
        assert models == {f"summary@{version}"}
        assert said == right[version][text]
        assert receipt["weights_sha256"] == model_ref(version).weights_sha256
    served_by = Counter(receipt["version"] for *_, receipt in heard)
    assert set(served_by) == {1, 2, 3, 4}
    assert ledger.num_answers("summary") == {("banyan-summary", version): count for version, count in served_by.items()}
    assert champions.num_swaps == 3
