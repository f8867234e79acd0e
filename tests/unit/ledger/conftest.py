"""A real ledger in a temporary workspace, with a clock that the test moves.

On SQLite; with `LEDGER_TEST_POSTGRES=postgresql+psycopg://user@host/database` on that server, in a
schema of each test's own.
"""

import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text

from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


def model_ref(version: int, table: str = "library") -> ModelRef:
    return ModelRef(name=f"banyan-{table}", version=version, run_id=f"run{version}", weights_sha256=f"{version:064d}")


POSTGRES = os.environ.get("LEDGER_TEST_POSTGRES", "")
on_sqlite = pytest.mark.skipif(bool(POSTGRES), reason="looks into SQLite's files")


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Iterator[Settings]:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    if not POSTGRES:
        yield Settings()
        return
    schema = f"test_{uuid.uuid4().hex}"
    monkeypatch.setenv("BANYAN_LEDGER_URL", f"{POSTGRES}?options=-csearch_path%3D{schema}")
    server = create_engine(POSTGRES)
    with server.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield Settings()
    with server.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    server.dispose()


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
