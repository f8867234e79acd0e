"""A real ledger in a temporary workspace, with a clock that the test moves.

Each test is run twice: on SQLite, and on a PostgreSQL that is started for the session, in a schema of the test's own.
"""

import itertools
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, create_engine, text

from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings

from . import postgres


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


def model_ref(version: int, table: str = "library") -> ModelRef:
    return ModelRef(name=f"banyan-{table}", version=version, run_id=f"run{version}", weights_sha256=f"{version:064d}")


on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""Of tests that look into SQLite's files."""
_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Engine]:
    """A PostgreSQL that ends with the session, and all in it."""
    if why := postgres.missing():
        pytest.skip(f"NOT TESTED ON POSTGRESQL: {why}")
    with postgres.running() as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> str:
    """The URL of an empty database of the test's own, which becomes the ledger's."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'workspace' / 'ledger.db'}"
    server, schema = request.getfixturevalue("server"), f"test_{next(_numbers)}"
    with server.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    return server.url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)


@pytest.fixture
def settings(database, tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    if not database.startswith("sqlite"):  # SQLite is where the workspace is, without being told
        monkeypatch.setenv("BANYAN_LEDGER_URL", database)
    return Settings()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(settings: Settings, clock: Clock) -> Iterator[Ledger]:
    with Ledger(settings, clock=clock) as opened:
        yield opened


@pytest.fixture
def ask(ledger: Ledger) -> Callable[..., str]:
    """Records an answer and gives its request id."""

    def record(
        number: int, *, text: str = "", output: str = "sympy", version: int = 1, table: str = "library", **more: object
    ) -> str:
        request_id = f"request-{table}-{number}"
        ledger.record_answer(
            request_id,
            table=table,
            model=model_ref(version, table),
            template_sha256="7" * 64,
            generation={"max_length_tokens": 64},
            text=text or f"text number {number}",
            output=output,
            confidence=0.5,
            alternatives=[(output, 0.5), ("django", 0.3)],
            **more,  # type: ignore[arg-type]
        )
        return request_id

    return record
