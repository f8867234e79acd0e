"""Which comparisons count as looks at a test set, as the ledger keeps them."""

from types import SimpleNamespace

import pytest

from components.errors import RegistryError
from components.evaluation import candidate
from components.evaluation.gate import compare
from components.evaluation.spending import set_name
from components.ledger.store import Ledger
from components.recipes import GatePolicy
from components.refs import ModelRef
from components.settings import Settings
from tests.unit.evaluation.test_gate import binary

POLICY = GatePolicy(num_resamples=1000)
NAME = "banyan-library"
SET = set_name(["a", "b"])


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    return Settings()


@pytest.fixture
def ledger(settings):
    with Ledger(settings) as opened:
        yield opened


def ref(version: int) -> ModelRef:
    return ModelRef(name=NAME, version=version, run_id="r", weights_sha256=f"{version:064d}")


def judged(ledger, version: int, *, champion: int | None, wins: int, test_set: str = SET, data_version: str = "d"):
    """Compares as `candidate.judge` does; gives the verdict."""
    other = ref(champion) if champion else None
    look = candidate._look(ledger, ref(version), other, test_set=test_set, policy=POLICY)
    verdict = compare(*binary(500, wins=wins, losses=30), POLICY, look=look)
    ledger.record_verdict(
        ref(version),
        verdict,
        champion=other,
        metric="accuracy",
        data_version=data_version,
        test_set=test_set,
        evidence=verdict.model_dump(mode="json", exclude={"policy"}),
    )
    return verdict


def test_each_pair_of_versions_is_a_look_and_asked_again_it_is_the_same_one(ledger):
    first = judged(ledger, 1, champion=None, wins=90)
    second = judged(ledger, 2, champion=1, wins=31, data_version="with feedback")
    third = judged(ledger, 3, champion=1, wins=31, data_version="with more feedback")
    again = judged(ledger, 2, champion=1, wins=31, data_version="with other feedback")
    assert [one.look.number for one in (first, second, third, again)] == [1, 2, 3, 2]
    assert again.look == second.look
    assert first.verdict == "promote"
    assert second.look.confidence_level == pytest.approx(0.95)  # what look 1 had, passed on
    assert third.look.confidence_level > 0.98
    assert len(ledger.looks(NAME, SET)) == 3


def test_another_champion_is_another_look_and_another_test_set_begins_at_one(ledger):
    judged(ledger, 1, champion=None, wins=90)
    judged(ledger, 2, champion=1, wins=31)
    assert judged(ledger, 2, champion=3, wins=31).look.number == 3
    assert judged(ledger, 2, champion=1, wins=31, test_set=set_name(["c"])).look.number == 1


def test_what_the_gate_found_is_kept_with_the_look(ledger):
    verdict = judged(ledger, 1, champion=None, wins=90)
    kept = ledger.looks(NAME, SET)[0]
    assert (kept.verdict, kept.model_version, kept.against) == ("promote", 1, "baseline")
    assert kept.evidence["look"] == verdict.look.model_dump(mode="json")
    assert kept.evidence["look_low"] == pytest.approx(verdict.look_low)
    assert ledger.verdicts(NAME)[0].low == pytest.approx(verdict.low)


def test_a_comparison_without_a_set_is_a_verdict_and_no_look(ledger):
    verdict = judged(ledger, 1, champion=None, wins=90)
    ledger.record_verdict(ref(9), verdict, champion=ref(1), metric="accuracy", data_version="d")
    assert [row.model_version for row in ledger.verdicts(NAME)] == [1, 9]
    assert [row.model_version for row in ledger.looks(NAME, SET)] == [1]


def test_a_control_is_not_promoted_whatever_the_verdict(settings, monkeypatch):
    registry = SimpleNamespace(get=lambda _: SimpleNamespace(role="control"), champion=lambda _: None)
    monkeypatch.setattr(candidate, "addresses", lambda _: SimpleNamespace(mlflow="http://127.0.0.1:9"))
    monkeypatch.setattr(candidate, "Registry", lambda _: registry)
    verdict = compare(*binary(500, wins=90, losses=30), POLICY)
    judgement = candidate.Judgement(challenger=ref(4), champion=None, verdict=verdict)
    with pytest.raises(RegistryError, match="is a control"):
        candidate.promote(judgement, settings=settings)
