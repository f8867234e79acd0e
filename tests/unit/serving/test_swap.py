"""A champion swap under load, over HTTP, on a real server."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn

from components.serving.app import create_app, listen
from components.serving.champions import Champions

from .conftest import VersionEngine, model_ref

NUM_CLIENTS = 8
NUM_REQUESTS = 25  # a client


class SlowEngine(VersionEngine):
    """Takes 2 ms a batch, and notices when somebody asks it after it was let go."""

    def answer(self, texts):
        time.sleep(0.002)
        return super().answer(texts)


@pytest.fixture
def url(settings, ledger, aliases) -> Iterator[str]:
    champions = Champions(find=aliases.find, load=lambda _, ref: SlowEngine(ref), poll_seconds=0.005)
    sock = listen("127.0.0.1", 0)
    config = uvicorn.Config(create_app(settings, champions=champions, ledger=ledger), log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


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
