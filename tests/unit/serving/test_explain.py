"""`GET /v1/explain/{request_id}`: who may ask, what is shown, and what is refused with its reason."""

import json

import pandas as pd
import pytest

from components.evaluation import explained
from components.ledger.keys import KeyRing
from components.registry import VersionInfo

from .conftest import model_ref
from .tiny_models import LABELS, TEXTS, classifier

EMAIL = "Write to ada@example.org about the shortest path."


class Shelf:
    """A registry of one version: a small random model on disk, with its test rows and its recipe."""

    def __init__(self, folder):
        recipe = {"kind": "finetune", "name": "library", "task": "classification", "table": "library", "base": "x"}
        self.folder = classifier(folder)
        self.recipe = recipe

    def ref(self, name, version):
        return model_ref(version)

    def get(self, ref):
        tags = {"banyan.recipe": json.dumps(self.recipe)}
        return VersionInfo(ref, 0.0, (), "classification", "", "d" * 32, "", {}, tags, "")

    def fetch(self, ref, workspace):
        return self.folder

    def per_example(self, ref):
        return pd.DataFrame({"confidence": [0.45] * 4 + [0.95] * 4, "score": [0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]})


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    found = Shelf(tmp_path / "model")
    monkeypatch.setattr(explained, "registry_of", lambda settings: found)
    return found


def keep(ledger, text, output="networkx", request_id="r" * 32):
    ledger.record_answer(
        request_id=request_id, table="library", model=model_ref(1), template_sha256="7" * 64, generation={},
        text=text, output=output, confidence=0.93, alternatives=(), subject=None, seconds=0.1,
    )  # fmt: skip
    return request_id


def test_an_answer_is_explained_by_the_version_that_gave_it(client, ledger, shelf):
    found = client.get(f"/v1/explain/{keep(ledger, TEXTS[0])}").json()
    assert (found["output"], found["text"], found["is_masked_copy"]) == ("networkx", TEXTS[0], False)
    total = sum(piece["attribution"] for piece in found["pieces"])
    assert total == pytest.approx(found["score"] - found["blank_score"] + found["completeness_error"], abs=1e-3)
    assert {one for one, _ in found["alternatives"][0]["others"]} == set(LABELS) - {"networkx"}
    assert (found["calibration"]["num_rows"], found["calibration"]["score"]) == (4, 1.0)
    assert found["similar"] == []
    assert "not here" in found["similar_by"]


def test_what_was_masked_is_not_shown(client, ledger, shelf):
    reply = client.get(f"/v1/explain/{keep(ledger, EMAIL, output='nobody')}")
    assert reply.status_code == 200
    assert "ada@example.org" not in reply.text
    assert reply.json()["is_masked_copy"] is True
    assert reply.json()["output"] in LABELS


def test_a_prompt_that_is_kept_no_longer_is_not_explained(settings, ledger, client, shelf, monkeypatch):
    request_id = keep(ledger, TEXTS[0])
    monkeypatch.setattr(ledger, "_retention_seconds", -1.0)
    refused = client.get(f"/v1/explain/{request_id}")
    assert refused.status_code == 404
    assert "kept no longer" in refused.json()["error"]["message"]
    assert "RETENTION" in refused.json()["error"]["remedy"]


def test_an_unknown_id_and_an_empty_text_are_said_to_be(client, ledger, shelf):
    assert client.get(f"/v1/explain/{'f' * 32}").status_code == 404
    refused = client.get(f"/v1/explain/{keep(ledger, ' ')}")
    assert refused.status_code == 422
    assert "empty" in refused.json()["error"]["message"]


def test_viewers_are_refused_and_raters_are_not(client, ledger, shelf):
    request_id = keep(ledger, TEXTS[0])
    keys = {role: KeyRing(ledger).create(role, role=role)[1] for role in ("viewer", "rater")}
    status = {
        role: client.get(f"/v1/explain/{request_id}", headers={"Authorization": f"Bearer {key}"}).status_code
        for role, key in keys.items()
    }
    assert status == {"viewer": 403, "rater": 200}


def test_two_at_a_time_are_one_too_many(client, ledger, shelf):
    request_id = keep(ledger, TEXTS[0])
    with explained._ONE:
        refused = client.get(f"/v1/explain/{request_id}")
    assert refused.status_code == 503
    assert "another explanation" in refused.json()["error"]["message"]
    assert client.get(f"/v1/explain/{request_id}").status_code == 200


def test_the_command_line_says_it_in_words(client, ledger, shelf, monkeypatch):
    from typer.testing import CliRunner

    from flows import gateway
    from flows.cli import app

    monkeypatch.setattr(gateway, "_call", lambda method, path, *_, **__: client.request(method, path).json())
    told = CliRunner().invoke(app, ["explain", keep(ledger, TEXTS[0])])
    assert told.exit_code == 0
    for part in (
        "What mattered",
        "Of 4 test rows answered with 0.9 to 1.0 the mean score is 1.00",
        "arXiv",
        "not here",
    ):
        assert part in told.stdout
    as_json = CliRunner().invoke(app, ["explain", "r" * 32, "--json"])
    assert json.loads(as_json.stdout)["output"] == "networkx"
