"""What a trigger sees: two real data versions, the attempts in the ledger, roll-backs in the journal."""

import re
from types import SimpleNamespace

import pytest

from components.data import versioning
from components.data.tables import write_split, write_table_info
from components.feedback import retraining, triggers
from components.ledger.attempts import LOOK_AGAIN, lease_name
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.recipes import TriggerPolicy
from components.refs import ModelRef

from .conftest import table_rows

NAME = "banyan-library"
ON_DATA = TriggerPolicy(on_new_data=True)
ON_DRIFT = TriggerPolicy(maximum_drift=0.3)
ON_CANARY = TriggerPolicy(on_failed_canary=True)


class Registry:
    """MLflow's part: which version is champion, and which data each was trained on."""

    def __init__(self, data):
        self.data, self.champion_is = {1: data}, 1 if data else 0

    def ref(self, name, version):
        return ModelRef(name=name, version=version, run_id="r", weights_sha256=f"{version:064d}")

    def champion(self, name):
        return self.ref(name, self.champion_is) if self.champion_is else None

    def at_alias(self, name, alias):
        return self.champion(name)

    def get(self, ref):
        return SimpleNamespace(data_version=self.data[ref.version].version)

    def set_alias(self, ref, alias="champion"):
        self.champion_is = ref.version


def a_version(folder, settings, *, label):
    """Three hundred texts, half of them of `label`; a test row that stays the same."""
    texts = {f"text number {i} of {label if i % 2 else 'sympy'}": label if i % 2 else "sympy" for i in range(300)}
    for split, rows in {"train": texts, "test": {"plot all channels at once": "mne"}}.items():
        write_split(folder, "library", split, table_rows(rows), task="classification")
    labels = ("django", "mne", "sympy")
    licences = dict.fromkeys(labels, "BSD-3-Clause")
    write_table_info(folder, "library", task="classification", labels=labels, licences=licences)
    return versioning.commit(folder, settings=settings)


@pytest.fixture
def versions(tmp_path, settings, monkeypatch):
    before = a_version(tmp_path / "before", settings, label="django")
    registry = Registry(before)
    monkeypatch.setattr("components.registry.Registry", lambda _: registry)
    monkeypatch.setattr(triggers, "addresses", lambda _: SimpleNamespace(mlflow="http://mlflow"))
    return SimpleNamespace(
        before=before, registry=registry, now=lambda: a_version(tmp_path / "now", settings, label="mne")
    )


@pytest.fixture
def ledger(settings):
    with Ledger(settings) as opened:
        yield opened


def answer(policy, ledger, settings):
    return triggers.decide(policy, triggers.look("library", policy, ledger=ledger, settings=settings))


def test_other_labelled_rows_than_the_champion_s_are_new_data_and_drift_until_a_retraining_was_judged_on_them(
    versions, ledger, settings
):
    for policy in (ON_DATA, ON_DRIFT):
        assert not answer(policy, ledger, settings).starts, "it is the data that the champion was trained on"
    now = versions.now()
    assert answer(ON_DATA, ledger, settings).cause == "data"
    found = answer(ON_DRIFT, ledger, settings)
    assert found.cause == "drift" and re.match("(label|source) drifted by 0.7", found.reason), found.reason

    versions.registry.data[2] = now
    for run_id, outcome, starts in (("a", "failed", True), ("b", "reject", False)):
        ledger.begin_attempt("library", run_id=run_id, cause="data")
        ledger.end_attempt(run_id, outcome=outcome, model=versions.registry.ref(NAME, 2))
        facts = triggers.look("library", ON_DATA, ledger=ledger, settings=settings)
        assert facts.is_new_data is starts, "what was rejected would be trained anew every night"


def test_a_roll_back_by_the_watch_is_a_cause_until_a_retraining_has_begun_since(settings, ledger):
    journal, registry = Journal(ledger, settings.workspace), Registry(None)
    for version in (1, 2):
        journal.move(registry, registry.ref(NAME, version), actor="gate", evidence={"verdict": "promote"})
    assert answer(ON_CANARY, ledger, settings).cause is None
    journal.rollback(registry, NAME, actor="somebody", reason="a person looks after it")
    assert answer(ON_CANARY, ledger, settings).cause is None
    journal.move(registry, registry.ref(NAME, 3), actor="gate", evidence={"verdict": "promote"})
    journal.rollback(registry, NAME, actor="watch", reason="people like it less")
    found = answer(ON_CANARY, ledger, settings)
    assert found.cause == "canary" and found.reason.startswith(f"{NAME} v3 was taken back")
    ledger.begin_attempt("library", run_id="a", cause="canary")
    ledger.end_attempt("a", outcome="failed")
    facts = triggers.look("library", ON_CANARY, ledger=ledger, settings=settings)
    assert facts.rolled_back, "one that failed has mended nothing"
    ledger.begin_attempt("library", run_id="b", cause="canary")
    ledger.end_attempt("b", outcome="inconclusive")
    assert answer(ON_CANARY, ledger, settings).cause is None


def events(ledger, name):
    return [row.resource["prefect.resource.id"] for row in ledger.undelivered() if row.event == name]


def test_an_ingest_leaves_word_of_each_changed_table_in_the_ledger_and_only_where_data_can_be_a_cause(
    versions, ledger, settings
):
    now = versions.now()
    assert retraining.ring(versions.before, now, trigger=TriggerPolicy(), settings=settings) == []
    assert retraining.ring(None, now, trigger=ON_DATA, settings=settings) == []
    assert retraining.ring(now, now, trigger=ON_DRIFT, settings=settings) == []
    assert events(ledger, "banyan.data.changed") == []
    assert retraining.ring(versions.before, now, trigger=ON_DRIFT, settings=settings) == ["library"]
    assert events(ledger, "banyan.data.changed") == ["banyan.table.library"]


def claim(settings, policy, holder):
    return retraining.claim("library", trigger=policy, cut=None, holder=holder, force=False, settings=settings)


def test_what_new_data_asked_for_in_vain_is_looked_at_again(versions, ledger, settings):
    versions.now()
    resting = ON_DATA.model_copy(update={"rest_seconds": 3600.0})
    ledger.begin_attempt("library", run_id="a", cause="asked")
    ledger.end_attempt("a", outcome="reject")
    assert claim(settings, resting, "b").outcome == "Resting"
    waits = ledger.num_undelivered()
    assert (waits, events(ledger, LOOK_AGAIN)) == (1, []), "when the rest is over"
    assert ledger.lease(lease_name("library"), holder="c", seconds=60)
    assert claim(settings, ON_DATA, "d").outcome == "AlreadyRetraining"
    assert ledger.num_undelivered() == 1, "one look, not two"
    ledger.release(lease_name("library"), holder="c")
    found = claim(settings, ON_DATA, "d")
    assert (found.outcome, found.cause, found.needs_feedback) == ("Granted", "data", False)
