"""Keys, fates, receipts and the journal at the command line, from the stores alone: no stack runs."""

import json
from datetime import datetime

import pytest
from typer.testing import CliRunner

import flows.gateway
from components.errors import UsageError
from components.ledger.journal import Journal
from components.ledger.keys import KeyRing, digest
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings
from flows.cli import app

run = CliRunner()
HOW = {"seed": 3, "parity": {"num_probes": 112, "tolerance": 0.001}}


def model(version: int) -> ModelRef:
    return ModelRef(name="banyan-library", version=version, run_id="r", weights_sha256=f"{version:064d}")


class Aliases:
    """A registry's aliases, in memory."""

    def __init__(self) -> None:
        self.now: ModelRef | None = None

    def at_alias(self, name: str, alias: str) -> ModelRef | None:
        return self.now

    def ref(self, name: str, version: int) -> ModelRef:
        return model(version)

    def set_alias(self, ref: ModelRef, alias: str = "champion") -> None:
        self.now = ref


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


@pytest.fixture
def ledger(settings):
    with Ledger(settings) as ledger:
        ledger.record_answer(
            "request-1", table="library", model=model(1), template_sha256="7" * 64, generation=HOW,
            text="x", output="sympy",
        )  # fmt: skip
        ledger.record_feedback("feedback-1", request_id="request-1", kind="correct", correction="networkx")
        aliases = Aliases()
        for version in (1, 2):
            Journal(ledger, settings.workspace).move(aliases, model(version), actor="gate", evidence={})
        yield ledger


def said(*arguments: str, code: int = 0) -> dict:
    result = run.invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.output)


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(ledger):
    made = said("key", "create", "--role", "rater", "--name", "shop", "--rate", "30")
    assert KeyRing(ledger).by_digest()[digest(made["secret"])].requests_per_minute == 30
    (listed,) = said("key", "list")["keys"]
    assert (listed["name"], listed["role"], listed["revoked_at"]) == ("shop", "rater", None)
    assert made["secret"] not in run.invoke(app, ["key", "list"]).output
    assert said("key", "revoke", "shop")["revoked_at"]
    assert "revoked" in run.invoke(app, ["key", "list"]).output
    assert run.invoke(app, ["key", "create", "--role", "king", "--name", "x"]).exit_code == 2


def test_a_receipt_tells_what_is_known_and_names_what_is_not(ledger):
    found = said("receipt", "request-1")
    assert (found["model"]["version"], found["model"]["generation"]) == (1, HOW)
    assert found["data"] is None
    assert "the stack is not running" in found["missing"][0]
    told = run.invoke(app, ["receipt", "request-1"]).output
    assert "missing" in told and "parity (num_probes 112, tolerance 0.001), seed 3" in told


def test_a_fate_is_told_step_by_step(ledger):
    ledger.append_fates([ledger.fate("feedback-1", "admitted", data_version="d" * 32)])
    found = said("fate", "feedback-1")
    assert [step["fate"] for step in found["history"]] == ["received", "admitted"]
    assert "admitted" in run.invoke(app, ["fate", "feedback-1"]).output
    assert isinstance(run.invoke(app, ["fate", "nothing"]).exception, UsageError)


def test_the_journal_is_listed_and_a_change_in_it_is_an_exit_code_of_1(ledger):
    assert [(entry["state"], entry["to_version"]) for entry in said("journal", "log", "library")["entries"]] == [
        ("intended", 1), ("done", 1), ("intended", 2), ("done", 2),
    ]  # fmt: skip
    assert said("journal", "verify")["ok"] is True
    with ledger.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM journal WHERE sequence > 2")
    assert said("journal", "verify", code=1)["problems"]


def test_a_journal_whose_head_file_is_lost_fails_until_an_operator_accepts_it(ledger, settings):
    (settings.workspace.root / "journal.head").unlink()
    [problem] = said("journal", "verify", code=1)["problems"]
    assert "journal.head is missing" in problem
    assert isinstance(run.invoke(app, ["journal", "accept", "--why", " "]).exception, UsageError)
    said("journal", "accept", "--why", "a new disk")
    assert said("journal", "verify")["ok"] is True
    [row] = ledger.actions(limit=5)
    assert (row.action, row.subject, row.outcome) == ("accept-journal", "a new disk", "done")
    assert row.actor.startswith("local:")


def test_who_served_is_told_for_now_and_for_a_time_before(ledger):
    assert said("who-served", "library")["version"] == 2
    assert said("who-served", "library", "--at", "2020-01-01T12:00+01:00")["version"] is None
    assert isinstance(run.invoke(app, ["who-served", "library", "--at", "soon"]).exception, UsageError)


@pytest.mark.parametrize(
    ("to", "version", "at"),
    [
        ("", None, None),
        ("3", 3, None),
        ("v3", 3, None),
        ("2026-11-22T14:30:00+05:00", None, "2026-11-22T09:30:00+00:00"),
        ("2026-11-22", None, datetime(2026, 11, 22).astimezone().isoformat()),  # a day begins here, not in Greenwich
    ],
)
def test_a_roll_back_is_to_the_one_before_a_version_or_a_time(to, version, at, ledger, monkeypatch):
    asked = []
    ref = {"name": "banyan-library", "version": 1, "run_id": "r", "weights_sha256": "0" * 64}
    monkeypatch.setattr(flows.gateway, "roll_back", lambda table, back, *, settings: asked.append((table, back)) or ref)
    assert said("rollback", "library", "--to", to)["version"] == 1
    [(table, back)] = asked
    told = datetime.fromisoformat(back["at"]) if back["at"] else None
    assert (table, back["to"], told) == ("library", version, datetime.fromisoformat(at) if at else None)
    assert told is None or told.tzinfo is not None


def test_a_roll_back_to_neither_a_version_nor_a_time_says_what_would_do():
    error = run.invoke(app, ["rollback", "library", "--to", "soon"]).exception
    assert isinstance(error, UsageError)
    assert "neither a version nor a time" in str(error) and "2026-11-22T14:30" in error.remedy


def test_nothing_is_made_in_a_workspace_without_a_ledger(settings):
    for command in (["journal", "verify"], ["fate", "x"], ["who-served", "library"], ["receipt", "x"]):
        assert isinstance(run.invoke(app, command).exception, UsageError)
    assert not settings.workspace.root.exists()
