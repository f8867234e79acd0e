"""Schemathesis against the gateway's own OpenAPI: whatever the schema allows, and much that it does not, is no 5xx."""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import hypothesis
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis import GenerationMode

from components.ledger.store import Ledger
from components.serving.app import create_app, listen
from components.serving.champions import Champions
from components.serving.engines import TorchEngine
from components.settings import Settings

from .conftest import model_ref
from .tiny_models import classifier, writer

NUM_EXAMPLES = 10  # an operation
NUM_OPERATIONS = 18


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp
    set_hypothesis_home_dir(folder("hypothesis"))
    engines = {
        "library": TorchEngine(model_ref(1), classifier(folder("c")), task="classification"),
        "summary": TorchEngine(model_ref(1, "summary"), writer(folder("w")), task="summarisation"),
    }
    champions = Champions(
        find=lambda: {table: engine.ref for table, engine in engines.items()}, load=lambda table, _: engines[table]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_WORKSPACE", str(folder("workspace")))
        settings = Settings()
    with Ledger(settings) as ledger:
        sock = listen("127.0.0.1", 0)
        app = create_app(settings, champions=champions, ledger=ledger)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        while not server.started:
            time.sleep(0.01)
        with httpx.Client(base_url=url) as client:
            while len(client.get("/v1/models").json()["data"]) < 2:
                time.sleep(0.01)
        yield url
        server.should_exit = True
        thread.join(30)


def sensible(case, number: int) -> None:
    """Let two of three cases name a model that is there, and one of three ask it something that can be answered."""
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = ("summary", "library", body["model"])[number % 3]
        if number % 3 == 0:
            for name in body.keys() - {"model", "messages", "prompt", "input", "seed", "stream", "user"}:
                del body[name]
            if isinstance(body.get("messages"), list):
                body["messages"] = [{"role": "user", "content": "Return the shortest path."}]
    if number % 2 and "table" in (case.path_parameters or {}):
        case.path_parameters["table"] = "library"


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_that_the_schema_allows_or_forbids_is_a_server_error(url, mode):
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    statuses: Counter[tuple[str, int]] = Counter()
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == NUM_OPERATIONS
    for operation in operations:
        try:
            cases = operation.as_strategy(generation_mode=mode)
            run = hypothesis.settings(
                max_examples=NUM_EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(hypothesis.given(case=cases)(lambda case: check(case, url, statuses)))
            run()
        except hypothesis.errors.Unsatisfiable:
            assert mode == GenerationMode.NEGATIVE, operation.label  # nothing about it can be wrong
    assert sum(statuses.values()) > 5 * NUM_EXAMPLES
    if mode == GenerationMode.POSITIVE:  # it has been behind the validation, too
        for label in ("POST /v1/chat/completions", "POST /v1/completions", "POST /v1/tasks/{table}", "GET /v1/models"):
            assert statuses[label, 200] > 0, statuses


def check(case, url: str, statuses: Counter[tuple[str, int]]) -> None:
    sensible(case, sum(statuses.values()))
    answer = case.call(base_url=url)
    statuses[case.operation.label, answer.status_code] += 1
    assert answer.status_code < 500, (case.as_curl_command(), answer.text)
