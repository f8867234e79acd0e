"""Who answers beside the champion: canary, shadow, control; through the gateway, on a real ledger."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from components.errors import RegistryError, VersionNotFound
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.ledger.traffic import Traffic, is_drawn
from components.serving.app import create_app
from components.serving.champions import Champions

from .conftest import Aliases, VersionEngine, model_ref

VERSIONS = 5


class Registry(Aliases):
    """Five versions, of which `broken` do not load."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[int] = set()
        self.loaded: list[int] = []

    def load(self, table, ref) -> VersionEngine:
        if ref.version in self.broken:
            raise RegistryError(f"{ref} is torn")
        self.loaded.append(ref.version)
        return super().load(table, ref)

    def resolve(self, table, version):
        if version > VERSIONS:
            raise VersionNotFound(f"no version {version}")
        return model_ref(version, table)


@pytest.fixture
def aliases() -> Registry:
    registry = Registry()
    registry.champions["library"] = model_ref(1)
    return registry


@pytest.fixture
def champions(aliases) -> Champions:
    return Champions(
        find=aliases.find, load=aliases.load, resolve=aliases.resolve, poll_seconds=0.01, standby_seconds=60.0
    )


def until(check, seconds: float = 10.0) -> None:
    give_up = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def versions_of(client, *subjects: str | None) -> list[int]:
    found = []
    for subject in subjects:
        reply = client.post("/v1/tasks/library", json={"input": "a text", "subject": subject}).json()
        assert int(reply["output"]) == reply["receipt"]["version"]  # wholly of one version, and the receipt says which
        found.append(reply["receipt"]["version"])
    return found


def give(client, **part):
    return client.put("/v1/traffic/library", json={"kind": "canary", "version": 2, "percent": 30, **part})


def test_a_canary_answers_its_part_of_the_subjects_and_each_of_them_always(serving, ledger, settings):
    subjects = [f"reader {number}" for number in range(60)]
    assert set(versions_of(serving, *subjects[:5])) == {1}
    assert give(serving).status_code == 200
    first = versions_of(serving, *subjects)
    assert versions_of(serving, *subjects) == first
    expected = [2 if is_drawn("canary banyan-library v2", ledger.pseudonym(one), percent=30) else 1 for one in subjects]
    assert first == expected
    assert 5 <= first.count(2) <= 35
    give(serving, percent=70)
    wider = versions_of(serving, *subjects)
    assert all(now == 2 for before, now in zip(first, wider, strict=True) if before == 2)
    assert serving.delete("/v1/traffic/library/canary").json()["state"] == "off"
    assert set(versions_of(serving, *subjects)) == {1}
    journal = [(one.action, one.alias, one.to_version) for one in ledger.journal()]
    assert journal == [("canary", "canary", 2), ("canary", "canary", 2), ("off", "canary", 2)]
    assert Journal(ledger, settings.workspace).verify().ok


def test_requests_without_a_subject_are_drawn_anew_for_a_canary(serving):
    give(serving, percent=50)
    assert set(versions_of(serving, *[None] * 40)) == {1, 2}


def test_a_canary_that_does_not_load_is_refused_and_changes_nothing(serving, aliases, ledger):
    aliases.broken.add(3)
    refused = give(serving, version=3)
    assert refused.status_code == 422
    assert "v3 does not load" in refused.json()["error"]["message"]
    assert give(serving, version=VERSIONS + 1).status_code == 404
    assert give(serving, version=1).status_code == 409
    assert ledger.journal() == []
    assert set(versions_of(serving, "a", "b", "c", "d")) == {1}


def test_a_canary_survives_a_restart_of_the_gateway(settings, aliases):
    from fastapi.testclient import TestClient

    def started() -> TestClient:
        champions = Champions(find=aliases.find, load=aliases.load, resolve=aliases.resolve, poll_seconds=0.01)
        return TestClient(create_app(settings, champions=champions), base_url="http://127.0.0.1")

    with started() as client:
        until(lambda: client.get("/readyz").status_code == 200)
        give(client, percent=100)
    with started() as client:
        until(lambda: client.get("/v1/traffic").json()["splits"][0]["state"] == "ready")
        assert versions_of(client, "anybody") == [2]


def test_a_shadow_is_kept_and_shown_to_nobody_and_the_champion_waits_for_nothing(serving, aliases, ledger, settings):
    give(serving, kind="shadow", percent=100)
    shadow = aliases.engines[-1]
    shadow.held.clear()  # it hangs
    assert versions_of(serving, "a", "b") == [1, 1]
    shadow.held.set()
    traffic = Traffic(ledger, settings.workspace)
    until(lambda: len(traffic.shadows("library")) == 2)
    assert {(one.model_version, one.output) for one in traffic.shadows("library")} == {(2, "2")}
    assert {answer.model_version for answer in ledger.answers()} == {1}


def test_a_shadow_that_fails_harms_nobody(serving, aliases):
    give(serving, kind="shadow", percent=100)
    aliases.engines[-1].error = RuntimeError("a kernel that does not exist")
    assert versions_of(serving, "a", "b") == [1, 1]
    failed = 'banyan_shadows_total{outcome="failed",table="library"} 2.0'
    until(lambda: failed in serving.get("/metrics").text)


def test_a_control_arm_gets_subjects_only(serving, ledger, settings):
    Traffic(ledger, settings.workspace).set(model_ref(2), kind="control", percent=50, actor="watch")
    until(lambda: serving.get("/v1/traffic").json()["splits"][0]["state"] == "ready")
    assert set(versions_of(serving, *[None] * 20)) == {1}
    assert set(versions_of(serving, *[f"reader {number}" for number in range(30)])) == {1, 2}


def test_a_canary_that_is_promoted_takes_over_without_being_loaded_again(serving, aliases):
    give(serving)
    aliases.champions["library"] = model_ref(2)
    until(lambda: set(versions_of(serving, *"abcdef")) == {2})
    assert aliases.loaded == [1, 2]
    aliases.champions["library"] = model_ref(1)  # rolled back: the old one was kept in memory
    until(lambda: set(versions_of(serving, *"abcdef")) == {1})
    assert aliases.loaded == [1, 2]


def test_only_operators_change_the_traffic(settings, aliases, champions):
    from fastapi.testclient import TestClient

    from components.ledger.keys import KeyRing

    with Ledger(settings) as ledger:
        _, rater = KeyRing(ledger).create("a shop", role="rater")
        _, operator = KeyRing(ledger).create("an operator", role="operator")
        with TestClient(
            create_app(settings, champions=champions, ledger=ledger), base_url="http://127.0.0.1"
        ) as client:
            until(lambda: client.get("/readyz").status_code == 200)
            client.headers["authorization"] = f"Bearer {rater}"
            assert give(client).status_code == 403
            client.headers["authorization"] = f"Bearer {operator}"
            assert give(client, actor="Ann").status_code == 200
            (entry,) = ledger.journal()
            assert entry.actor.startswith("Ann by key ")


def test_a_roll_back_over_the_gateway_takes_effect_before_it_is_answered(
    serving, aliases, ledger, settings, monkeypatch
):
    from components.serving import traffic_routes

    class Registered:
        """The aliases that the gateway follows, as the journal moves them."""

        def at_alias(self, name, alias):
            return aliases.champions.get("library")

        def ref(self, name, version):
            return model_ref(version)

        def set_alias(self, ref, alias="champion"):
            aliases.champions["library"] = ref

    monkeypatch.setattr(traffic_routes, "Registry", lambda _: Registered())
    monkeypatch.setattr(traffic_routes, "addresses", lambda _: type("Known", (), {"mlflow": ""}))
    refused = serving.post("/v1/rollback/library", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid")
    journal = Journal(ledger, settings.workspace)
    aliases.champions["library"] = model_ref(3)  # so that the journal knows of two champions before
    for version in (1, 2):
        journal.move(Registered(), model_ref(version), actor="gate", evidence={})
    until(lambda: versions_of(serving, None) == [2])
    done = serving.post("/v1/rollback/library", json={"reason": "it writes nonsense", "actor": "Ann"})
    assert done.json()["version"] == 1
    assert versions_of(serving, None) == [1], "at once: it was still in memory"
    last = ledger.journal()[-1]
    assert (last.action, last.actor, last.evidence) == ("rollback", "Ann by operator", {"reason": "it writes nonsense"})
    then = next(entry.at for entry in ledger.journal() if entry.state == "done" and entry.to_version == 2)
    for wrong in ("2026-11-22T14:30", "yesterday"):  # without a zone it would be the gateway's guess
        assert serving.post("/v1/rollback/library", json={"at": wrong}).status_code == 422
    at = datetime.fromtimestamp(then + 0.001, timezone(timedelta(hours=5))).isoformat()
    assert serving.post("/v1/rollback/library", json={"at": at, "reason": "so"}).json()["version"] == 2
    assert versions_of(serving, None) == [2]
