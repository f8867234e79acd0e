"""A move of an alias is killed half-way: the next start finishes it, on a real MLflow store."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.registry import Registry
from components.settings import Settings

ROOT = Path(__file__).parents[2]
MOVER = Path(__file__).with_name("journal_mover.py")


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


def versions(registry: Registry, name: str) -> None:
    """Two versions of a registered model, without files: an alias needs none."""
    registry._client.create_registered_model(name)
    for version in ("1", "2"):
        registry._client.create_model_version(name, source="/nowhere", tags={"banyan.weights_sha256": version * 64})


def killed_move(url: str, name: str, version: int, point: str) -> None:
    done = subprocess.run(
        [sys.executable, str(MOVER), url, name, str(version), point],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", ["before", "after", "head"])
def test_a_killed_move_is_finished_by_the_next_start(url, settings, point):
    registry, name = Registry(url), f"banyan-{point}"
    versions(registry, name)
    killed_move(url, name, 2, point)
    with Ledger(settings) as ledger:
        journal = Journal(ledger, settings.workspace)
        (entry,) = ledger.journal()
        assert (entry.state, entry.to_version) == ("intended", 2)
        (added,) = journal.repair(registry)
        assert (added.state, added.move_id) == ("done", entry.move_id)
        champion = registry.champion(name)
        assert champion is not None and champion.version == 2
        assert journal.verify(registry).ok
        assert journal.repair(registry) == []
        assert [row.event for row in ledger.undelivered()] == ["banyan.model.promoted"]
