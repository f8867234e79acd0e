"""Schemathesis against the gateway's own OpenAPI: whatever the schema allows, and much that it does not, is no 5xx."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis import GenerationMode

from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.registry import PREFIX, Registry
from components.serving.app import create_app, listen
from components.serving.champions import Champions
from components.serving.engines import TorchEngine
from components.settings import Settings

from .tiny_models import classifier, writer

NUM_EXAMPLES = 10  # an operation
NUM_OPERATIONS = 18


def register(settings: Settings, ledger: Ledger) -> Registry:
    """A real registry: two tables with three versions each, of which the second serves and the first did."""
    registry, journal = Registry(settings.mlflow_url or ""), Journal(ledger, settings.workspace)
    client: Any = registry._client
    for table in ("library", "summary"):
        client.create_registered_model(PREFIX + table)
        for version in (1, 2, 3):
            run = client.create_run("0")
            tags = {"banyan.weights_sha256": f"{version:064d}"}
            client.create_model_version(PREFIX + table, source="runs:/m", run_id=run.info.run_id, tags=tags)
        for version in (1, 2):
            journal.move(registry, registry.ref(PREFIX + table, version), actor="gate", evidence={})
    return registry


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp
    set_hypothesis_home_dir(folder("hypothesis"))
    weights = {
        "library": (classifier(folder("c")), "classification"),
        "summary": (writer(folder("w")), "summarisation"),
    }

    def load(table: str, ref: ModelRef) -> TorchEngine:
        path, task = weights[table]
        return TorchEngine(ref, path, task=task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_WORKSPACE", str(folder("workspace")))
        patch.setenv("BANYAN_MLFLOW_URL", f"sqlite:///{folder('mlflow')}/mlflow.db")
        settings = Settings()
    with Ledger(settings) as ledger:
        registry = register(settings, ledger)
        champions = Champions(
            find=lambda: {name.removeprefix(PREFIX): ref for name, ref in registry.champions().items()},
            load=load,
            resolve=lambda table, version: registry.ref(PREFIX + table, version),
            standby_seconds=60.0,
        )
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
        if isinstance(body, dict) and "version" in body and number % 3:
            body["version"] = 1 + number % 3
        if isinstance(body, dict) and case.path.startswith("/v1/rollback") and number % 3:
            body.pop("at", None)
            body["to"] = 1 + number % 4 // 2


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
        for label in (
            "POST /v1/chat/completions",
            "POST /v1/completions",
            "POST /v1/tasks/{table}",
            "GET /v1/models",
            "PUT /v1/traffic/{table}",
            "POST /v1/rollback/{table}",
        ):
            assert statuses[label, 200] > 0, statuses


def check(case, url: str, statuses: Counter[tuple[str, int]]) -> None:
    sensible(case, sum(statuses.values()))
    answer = case.call(base_url=url)
    statuses[case.operation.label, answer.status_code] += 1
    assert answer.status_code < 500, (case.as_curl_command(), answer.text)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/traffic/library", {"kind": "canary", "version": 10**30, "percent": 5}),
        ("PUT", "/v1/traffic/library", {"kind": "shadow", "version": 2**63, "percent": 5}),
        ("POST", "/v1/rollback/library", {"to": 2**31}),
        ("POST", "/v1/rollback/library", {"at": "0001-01-01T00:00:00+14:00"}),
        ("POST", "/v1/rollback/library", {"at": "9999-12-31T23:59:59-12:00"}),
        ("POST", "/v1/rollback/%00", {}),
        ("PUT", "/v1/traffic/%00", {"kind": "canary", "version": 1, "percent": 5}),
        ("DELETE", "/v1/traffic/library/canary?actor=%00", None),
    ],
)
def test_what_no_store_or_calendar_holds_is_the_askers_fault(url, method, path, body):
    """Beyond what a short search finds: 503 and 500 before, or a row that PostgreSQL cannot take."""
    answer = httpx.request(method, url + path, json=body, timeout=60)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"]
