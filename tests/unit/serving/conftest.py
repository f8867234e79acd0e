"""A gateway whose models are a few lines, on a real ledger in a temporary workspace."""

import threading
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from components.ledger.store import Ledger
from components.refs import ModelRef
from components.serving.app import create_app
from components.serving.champions import Champions
from components.settings import Settings
from components.tasks.base import Answer


def model_ref(version: int, table: str = "library") -> ModelRef:
    return ModelRef(name=f"banyan-{table}", version=version, run_id=f"r{version}", weights_sha256=f"{version:064d}")


class VersionEngine:
    """Answers with its own version; `held` makes it wait, `error` makes it fail, `asked` says that it was reached."""

    task, example, labels, template_sha256 = "classification", "an example", ("a", "b"), "7" * 64

    decoder, num_dimensions, max_new_tokens = None, None, 0

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self.generation = {"max_length_tokens": 64}
        self.held = threading.Event()
        self.held.set()
        self.asked = threading.Event()
        self.error: Exception | None = None

    def answer(self, texts: list[str]) -> list[Answer]:
        self.asked.set()
        assert self.held.wait(60)
        if self.error:
            raise self.error
        return [Answer(str(self.ref.version), 0.75, (("a", 0.75), ("b", 0.25))) for _ in texts]

    def num_tokens(self, asked: str, said: str = "") -> tuple[int, int]:
        return len(asked.split()), len(said.split())


class Aliases:
    """The registry, as far as the gateway asks it."""

    def __init__(self) -> None:
        self.champions: dict[str, ModelRef] = {}
        self.engines: list[VersionEngine] = []

    def find(self) -> dict[str, ModelRef]:
        return dict(self.champions)

    def load(self, table: str, ref: ModelRef) -> VersionEngine:
        self.engines.append(VersionEngine(ref))
        return self.engines[-1]


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


@pytest.fixture
def ledger(settings) -> Iterator[Ledger]:
    with Ledger(settings) as ledger:
        yield ledger


@pytest.fixture
def aliases() -> Aliases:
    return Aliases()


@pytest.fixture
def champions(aliases) -> Champions:
    return Champions(find=aliases.find, load=aliases.load, poll_seconds=0.01, capacity=4)


@pytest.fixture
def client(settings, ledger, champions) -> Iterator[TestClient]:
    app = create_app(settings, champions=champions, ledger=ledger)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def serving(client, aliases) -> TestClient:
    """The client, once version 1 answers for `library`."""
    aliases.champions["library"] = model_ref(1)
    give_up = time.monotonic() + 60
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < give_up
        time.sleep(0.005)
    return client
