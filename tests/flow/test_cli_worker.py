"""A worker on another machine: what it must be told, and what it tells its runs."""

import os
import sys
from pathlib import Path

import pytest

from components.errors import LedgerError, UsageError
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings
from flows.cli_worker import environment, join_journal


class Aliases:
    """A registry that knows one alias."""

    now: ModelRef | None = None

    def at_alias(self, name: str, alias: str) -> ModelRef | None:
        return self.now

    def ref(self, name: str, version: int) -> ModelRef:
        return ModelRef(name=name, version=version, run_id="r", weights_sha256=f"{version:064d}")

    def set_alias(self, ref: ModelRef, alias: str = "champion") -> None:
        self.now = ref


ELSEWHERE = {
    "BANYAN_PREFECT_URL": "http://a:4200",
    "BANYAN_MLFLOW_URL": "http://b:5000",
    "BANYAN_LEDGER_URL": "postgresql+psycopg://c/banyan",
    "BANYAN_DATA_REMOTE": "s3://d/banyan",
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("BANYAN_")]:
        monkeypatch.delenv(name)

    def made(**env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")

    return made


def test_its_runs_know_the_services_beat_and_use_this_interpreter(settings):
    env = environment(settings(**ELSEWHERE), pool="gpu")
    assert env["PREFECT_API_URL"] == "http://a:4200/api"
    assert env["BANYAN_MLFLOW_URL"] == env["MLFLOW_TRACKING_URI"] == "http://b:5000"
    assert int(env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) >= 30, "the shortest that Prefect takes"
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert "BANYAN_GATEWAY_URL" not in env, "nobody told it of a gateway"


@pytest.mark.parametrize("missing", ["BANYAN_LEDGER_URL", "BANYAN_DATA_REMOTE"])
def test_without_a_shared_store_it_does_not_start_and_names_what_is_missing(settings, missing):
    given = {name: value for name, value in ELSEWHERE.items() if name != missing}
    with pytest.raises(UsageError, match=missing):
        environment(settings(**given), pool="gpu")


def test_it_takes_no_runs_of_the_stacks_own_pool_and_none_from_nowhere(settings):
    with pytest.raises(UsageError, match="banyan up"):
        environment(settings(**ELSEWHERE), pool="cpu")
    for name in ELSEWHERE:
        del os.environ[name]
    with pytest.raises(UsageError, match="PREFECT_URL"):
        environment(settings(), pool="gpu")


def test_a_machine_that_is_new_to_a_shared_ledger_begins_with_its_head_once_and_in_the_open(settings, tmp_path):
    """Its runs promote, and without a head no move is made."""
    here = settings(BANYAN_LEDGER_URL=f"sqlite:///{tmp_path / 'shared.db'}")
    registry, there = Aliases(), here.model_copy(update={"workspace_dir": tmp_path / "there"})
    with Ledger(here) as ledger:
        Journal(ledger, here.workspace).move(registry, registry.ref("banyan-library", 1), actor="gate", evidence={})
        away = Journal(ledger, there.workspace)
        to = registry.ref("banyan-library", 2)
        with pytest.raises(LedgerError, match=r"journal\.head is missing"):
            away.move(registry, to, actor="gate", evidence={})
        assert join_journal(there) == away.verify().head
        assert join_journal(there) == ""
        away.move(registry, to, actor="gate", evidence={})
        assert (registry.now, away.verify(registry).ok) == (to, True)
        assert Journal(ledger, here.workspace).verify().ok, "its own head lags, and is still there"
        [row] = ledger.actions(limit=5)
        assert (row.action, row.outcome) == ("accept-journal", "done")
