"""Keys, roles and rates at the gateway's door."""

import logging

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from components.errors import RecipeError
from components.ledger.keys import KeyRing
from components.serving import auth
from components.serving.app import create_app
from components.serving.limits import Allowance

OPINION = {"request_id": "no-such-answer", "kind": "approve"}
CHAT = {"model": "library", "messages": [{"role": "user", "content": "x"}]}
ROUTES = [
    ("viewer", "GET", "/v1/models", None),
    ("viewer", "GET", "/v1/models/library", None),
    ("viewer", "POST", "/v1/tasks/library", {"input": "x"}),
    ("viewer", "POST", "/v1/chat/completions", CHAT),
    ("viewer", "POST", "/v1/completions", {"model": "library", "prompt": "x"}),
    ("viewer", "POST", "/v1/embeddings", {"model": "library", "input": "x"}),
    ("rater", "POST", "/v1/feedback", OPINION),
    ("rater", "GET", "/v1/feedback/some-id-1", None),
    ("rater", "GET", "/v1/mine/some-id-1", None),
    ("rater", "GET", "/v1/explain/some-id-1", None),
    ("operator", "GET", "/v1/traffic", None),
    ("operator", "PUT", "/v1/traffic/library", {"version": 2, "kind": "shadow"}),
    ("operator", "DELETE", "/v1/traffic/library/shadow", None),
    ("operator", "POST", "/v1/rollback/library", {}),
    ("operator", "GET", "/metrics", None),
]


@pytest.fixture
def ring(ledger, monkeypatch) -> KeyRing:
    monkeypatch.setattr(auth, "LOOK_AGAIN_SECONDS", 0.0)
    return KeyRing(ledger)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(("needed", "method", "path", "body"), ROUTES)
def test_each_route_opens_for_its_role_and_higher_ones(client, ring, needed, method, path, body):
    roles = ("viewer", "rater", "operator")
    for role in roles:
        _, secret = ring.create(role, role=role)
        answer = client.request(method, path, json=body, headers=bearer(secret))
        may = roles.index(role) >= roles.index(needed)
        assert (answer.status_code == 403) is not may, (role, answer.text)
        assert answer.status_code != 401
        if not may:
            assert answer.json()["error"]["code"] == "not_allowed"


@pytest.mark.parametrize("channel", ["scripted-rater", "import"])
def test_nobody_lifts_the_cap_on_influence_by_naming_a_programs_channel(client, ring, channel):
    for role, status in (("rater", 403), ("operator", 404)):  # 404: there is no such answer
        _, secret = ring.create(role, role=role)
        told = client.post("/v1/feedback", json=OPINION | {"channel": channel}, headers=bearer(secret))
        assert told.status_code == status
    metrics = client.get("/metrics", headers=bearer(secret)).text
    assert 'reason="channel"' in metrics


def test_a_channel_that_the_policy_declares_is_guarded_from_the_next_request_on(client, ring, settings, caplog):
    """Screening reads the policy anew at each retraining, so the door must not be guarded by an older one."""
    raters, operators = (bearer(ring.create(role, role=role)[1]) for role in ("rater", "operator"))
    path = settings.workspace.root / "screening.yaml"

    def statuses(*channels: str) -> list[int]:
        asked = [OPINION | {"channel": channel} for channel in channels]
        return [client.post("/v1/feedback", json=one, headers=raters).status_code for one in asked]

    assert statuses("survey-bot", "scripted-rater") == [404, 403]  # 404: it got as far as the answer, which is none
    path.write_text("kind: screening\ndeclared_channels: [survey-bot]\nimport_channels: [archive]\n")
    assert statuses("survey-bot", "archive", "scripted-rater", "api") == [403, 403, 404, 404]
    told = client.post("/v1/feedback", json=OPINION | {"channel": "survey-bot"}, headers=raters).json()["error"]
    assert told["code"] == "not_allowed" and "survey-bot" in told["message"] and "operator" in told["message"]
    assert client.post("/v1/feedback", json=OPINION | {"channel": "survey-bot"}, headers=operators).status_code == 404
    path.write_text("kind: screening\ndeclared_chan")
    assert statuses("survey-bot", "api") == [403, 404], "half a file opens nothing"
    assert str(path) in caplog.text
    path.unlink()
    assert statuses("survey-bot", "scripted-rater") == [404, 403]


def test_the_gateway_guards_by_the_policy_that_it_is_started_with(settings, ledger, champions, ring, tmp_path):
    policy = tmp_path / "packages.yaml"
    policy.write_text("kind: screening\ndeclared_channels: [survey-bot]\n")
    rater = bearer(ring.create("r", role="rater")[1])
    app = create_app(settings, champions=champions, ledger=ledger, screening=policy)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for channel, status in (("survey-bot", 403), ("scripted-rater", 404)):
            told = client.post("/v1/feedback", json=OPINION | {"channel": channel}, headers=rater)
            assert told.status_code == status
    policy.write_text("kind: gate\n")
    with pytest.raises(RecipeError, match="kind screening"):
        create_app(settings, champions=champions, ledger=ledger, screening=policy)


def test_every_route_but_health_is_listed_above(client):
    """A new route is tried by every role, or this fails."""
    paths = client.get("/openapi.json").json()["paths"]
    known = {path.replace("library", "{x}").replace("some-id-1", "{x}") for _, _, path, _ in ROUTES}
    known = {path.partition("{")[0] + "{x}" if "{" in path else path for path in known}
    known |= {"/healthz", "/readyz"}
    generic = {path.partition("{")[0] + "{x}" if "{" in path else path for path in paths}
    assert generic == known


@pytest.mark.parametrize(("_", "method", "path", "body"), ROUTES)
def test_once_a_key_was_made_nobody_comes_in_without_one(client, ring, _, method, path, body):
    ring.create("a", role="operator")
    for headers in ({}, bearer("wrong"), bearer(""), {"authorization": "Basic YTpi"}):
        assert client.request(method, path, json=body, headers=headers).status_code == 401
    for path in ("/healthz", "/readyz"):
        assert client.get(path).status_code != 401


def test_a_revoked_key_opens_nothing_and_the_last_one_does_not_open_the_door(client, ring):
    key, secret = ring.create("a", role="operator")
    assert client.get("/v1/models", headers=bearer(secret)).status_code == 200
    ring.revoke(key.key_id)
    assert client.get("/v1/models", headers=bearer(secret)).status_code == 401
    assert client.get("/v1/models").status_code == 401


def test_the_settings_key_is_an_operators(settings, ledger, champions, ring):
    _, viewer = ring.create("a", role="viewer")
    keyed = settings.model_copy(update={"api_key": SecretStr("a long key")})
    with TestClient(create_app(keyed, champions=champions, ledger=ledger), base_url="http://127.0.0.1") as client:
        assert client.get("/metrics", headers=bearer("a long key")).status_code == 200
        assert client.get("/metrics", headers=bearer(viewer)).status_code == 403
        assert client.get("/v1/models", headers=bearer(viewer)).status_code == 200


def test_a_key_that_asks_too_fast_is_told_when_to_come_again_and_others_are_not_slowed(client, ring):
    _, hasty = ring.create("hasty", role="viewer", requests_per_minute=3)
    _, other = ring.create("other", role="viewer", requests_per_minute=3)
    statuses = [client.get("/v1/models", headers=bearer(hasty)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = client.get("/v1/models", headers=bearer(hasty))
    assert refused.json()["error"]["code"] == "too_fast"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert client.get("/v1/models", headers=bearer(other)).status_code == 200


def test_an_allowance_fills_steadily_and_no_further_than_a_minute():
    now = [0.0]
    allowance = Allowance(6, lambda: now[0])
    assert [allowance.take() for _ in range(6)] == [0.0] * 6
    assert allowance.take() == pytest.approx(10)
    now[0] += 10
    assert allowance.take() == 0
    assert allowance.take() > 0
    now[0] += 3600
    assert [allowance.take() > 0 for _ in range(7)] == [False] * 6 + [True]


def test_refusals_are_counted_and_logged_without_what_was_sent(client, ring, caplog):
    _, operator = ring.create("o", role="operator")
    _, viewer = ring.create("v", role="viewer", requests_per_minute=1)
    with caplog.at_level(logging.WARNING, "banyan.gateway"):
        client.get("/v1/models", headers=bearer("a-guess"))
        client.post("/v1/feedback", json=OPINION, headers=bearer(viewer))
        client.post("/v1/tasks/typed-by-somebody", json={"input": "x"}, headers=bearer(viewer))
        client.post("/v1/tasks/typed-by-somebody", json={"input": "x"}, headers=bearer(viewer))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "refused GET /v1/models: no valid key",
        "refused POST /v1/feedback: role",
        "refused POST /v1/tasks/{table}: rate",
    ]
    text = client.get("/metrics", headers=bearer(operator)).text
    for reason in ("no valid key", "role", "rate"):
        assert f'banyan_refusals_total{{reason="{reason}"}} 1.0' in text


def test_off_loopback_a_key_in_the_ledger_is_enough_to_start_and_a_revoked_one_is_not(
    settings, ledger, champions, ring
):
    open_to_all = settings.model_copy(update={"host": "0.0.0.0"})
    key, secret = ring.create("a", role="viewer")
    with TestClient(create_app(open_to_all, champions=champions, ledger=ledger)) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=bearer(secret)).status_code == 200
    ring.revoke(key.key_id)
    with pytest.raises(RecipeError, match="without a key"):
        create_app(open_to_all, champions=champions, ledger=ledger)
    with pytest.raises(RecipeError, match="without a key"):
        create_app(open_to_all, champions=champions)
