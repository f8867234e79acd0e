"""MLflow's copy of the ledger against a real MLflow: late when it is down, never lost, never twice."""

import sqlite3
import uuid

import httpx
import pytest

from components.ledger.mirror import Mirror, assessment_id, trace_id
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings
from tests.mlflow_server import MlflowServer

MODEL = ModelRef(name="banyan-library", version=3, run_id="r", weights_sha256="a" * 64)


@pytest.fixture
def server(tmp_path):
    server = MlflowServer(tmp_path)  # a test starts it when it wants it
    yield server
    server.kill()


def rows(server: MlflowServer, query: str) -> list[tuple]:
    with sqlite3.connect(server.database) as database:
        return database.execute(query).fetchall()


def ask(ledger: Ledger, number: int) -> str:
    request_id = uuid.uuid4().hex
    text = f"text {number}, write to ann@example.org"
    ledger.record_answer(
        request_id, table="library", model=MODEL, template_sha256="", generation={}, text=text, output="sympy"
    )
    return request_id


def test_answers_and_feedback_reach_mlflow_late_whole_masked_and_once(server, tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    now = [0.0]
    with Ledger(Settings()) as ledger, httpx.Client(timeout=30, trust_env=False) as client:
        mirror = Mirror(ledger, lambda: server.url, client, now=lambda: now[0])
        requests = [ask(ledger, number) for number in range(60)]
        kinds = [{"kind": "approve"}, {"kind": "rate", "rating": 4}, {"kind": "correct", "correction": "networkx"}]
        kinds += [{"kind": "prefer", "other_request_id": None}, {"kind": "comment", "comment": "odd"}]
        given = []
        for number, more in enumerate(kinds):
            if more["kind"] == "prefer":
                more = {"kind": "reject"}
            ledger.record_feedback(f"feedback-{number}", request_id=requests[number], subject="Ann", **more)
            given.append(f"feedback-{number}")

        assert mirror.step() == 0, "nobody is there"
        assert ledger.num_undelivered(to="mlflow") == 65
        assert mirror.step() == 0, "and nobody is asked again at once"
        server.start()
        now[0] += 100
        assert mirror.step() == 50
        assert mirror.step() == 15
        assert ledger.num_undelivered(to="mlflow") == 0

        first = trace_id(requests[0])
        about = client.get(f"{server.url}/api/3.0/mlflow/traces/{first}").json()["trace"]["trace_info"]
        assert "[EMAIL_1]" in about["request_preview"]
        assert "ann@example.org" not in str(about)
        assert (about["tags"]["banyan.version"], about["assessments"][0]["feedback"]["value"]) == ("3", True)
        assert "Ann" not in str(about), "people are pseudonyms there, too"

        # Told again, as after a crash between MLflow's yes and ours.
        assert mirror._send([ledger.answer(request) for request in requests])
        assert all(mirror._assess(ledger.feedback_row(one)) for one in given)
        assert rows(server, "SELECT count(*) FROM trace_info") == [(60,)]
        assert rows(server, "SELECT count(*) FROM spans") == [(60,)]
        assert {one for (one,) in rows(server, "SELECT assessment_id FROM assessments")} == {
            assessment_id(one) for one in given
        }

        server.kill()
        later = ask(ledger, 61)  # nobody waits for MLflow
        assert mirror.step() == 0
        assert [row.payload["request_id"] for row in ledger.undelivered(to="mlflow")] == [later]
        assert rows(server, "SELECT count(*) FROM trace_info") == [(60,)], "what was acknowledged is there"


def test_the_share_of_traces_is_a_setting_and_none_is_none(tmp_path, monkeypatch):
    for share, waiting in (("0", 0), ("0.5", None), ("1", 40)):
        monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / share))
        monkeypatch.setenv("BANYAN_TRACE_SHARE", share)
        with Ledger(Settings()) as ledger:
            for number in range(40):
                ask(ledger, number)
            found = ledger.num_undelivered(to="mlflow")
            assert found == waiting if waiting is not None else 5 <= found <= 35
            assert ledger.num_undelivered() == 0, "Prefect's lane has nothing of it"
