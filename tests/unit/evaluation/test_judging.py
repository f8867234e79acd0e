"""A registered version before the gate: what is compared, counted and kept. The registry is a dictionary."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from components.data.tables import columns, content_id, write_split, write_table_info
from components.data.versioning import Manifest
from components.evaluation import candidate, cost, robustness
from components.evaluation.spending import set_name
from components.ledger.store import Ledger
from components.recipes import Finetune, GatePolicy
from components.refs import DataRef, ModelRef
from components.registry import VersionInfo
from components.settings import Settings
from components.tasks.base import Answer

NAME = "banyan-library"
LABELS = ("django", "mne", "sympy")
POLICY = GatePolicy(num_resamples=1000, timed_rows=0)  # these models have no weights that could answer
RECIPE = Finetune(
    name="library", task="classification", table="library", base="minilm", num_epochs=1, learning_rate=1e-4
)
DATA = DataRef(version="d" * 32, tables={"library": "t" * 64})


def ref(version: int) -> ModelRef:
    return ModelRef(name=NAME, version=version, run_id=f"r{version}", weights_sha256=f"{version:064d}")


class Dictionary:
    """What `candidate` asks of a registry."""

    def __init__(self, ids: list[str]) -> None:
        self.ids, self.scores, self.infos = ids, {}, {}
        self.now: ModelRef | None = None

    def add(self, version: int, accuracy: float, *, seed: int = 0, role: str = "candidate", draw: int = 0) -> ModelRef:
        right = np.random.default_rng(draw or version).random(len(self.ids)) < accuracy
        self.scores[version] = pd.DataFrame({"id": self.ids, "score": right.astype(float), "confidence": accuracy})
        tags = {candidate.RECIPE_TAG: RECIPE.model_copy(update={"seed": seed}).model_dump_json()}
        self.infos[version] = VersionInfo(ref(version), 0.0, (), "classification", role, DATA.version, "", {}, tags, "")
        return ref(version)

    def get(self, model: ModelRef) -> VersionInfo:
        return self.infos[model.version]

    def versions(self, _: str) -> list[VersionInfo]:
        return list(self.infos.values())

    def champion(self, _: str) -> ModelRef | None:
        return self.now

    def per_example(self, model: ModelRef) -> pd.DataFrame:
        return self.scores[model.version]

    def fetch(self, model: ModelRef, settings: Settings) -> Path:
        folder = settings.workspace.root / "models" / str(model.version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"w" * 1000 * model.version)
        return folder

    def baseline(self, _: ModelRef) -> pd.DataFrame:
        right = np.random.default_rng(99).random(len(self.ids)) < 0.4
        return pd.DataFrame({"id": self.ids, "score": right.astype(float), "confidence": 0.4})


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """An installation with a data version of 600 test rows."""
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    settings = Settings()
    folder = settings.workspace.data / "versions" / DATA.version
    rows = []
    for i in range(600):
        text = f"describes thing number {i} " + "at length " * (i % 7)
        row = dict.fromkeys(columns("classification"), "") | {"id": content_id(text), "text": text}
        rows.append(row | {"label": LABELS[i % 3], "source": LABELS[i % 3]})
    write_split(folder, "library", "test", pd.DataFrame(rows), task="classification")
    write_table_info(folder, "library", task="classification", labels=LABELS, licences={})
    (settings.workspace.data / "manifests").mkdir()
    manifest = Manifest(ref=DATA, name="test", created_at=datetime.now(UTC), pointer="")
    (settings.workspace.data / "manifests" / f"{DATA.version}.json").write_text(manifest.model_dump_json())
    return settings


@pytest.fixture
def registry(settings, monkeypatch) -> Dictionary:
    from components.data.tables import read_split

    found = Dictionary(list(read_split(settings.workspace.data / "versions" / DATA.version, "library", "test")["id"]))
    monkeypatch.setattr(candidate, "Registry", lambda _: found)
    monkeypatch.setattr(candidate, "addresses", lambda _: SimpleNamespace(mlflow=""))
    return found


def judge(version: ModelRef, settings: Settings, policy: GatePolicy = POLICY):
    return candidate.judge(version, policy=policy, settings=settings).verdict


def test_the_first_is_compared_with_the_baseline_and_the_next_with_the_champion(settings, registry):
    first = judge(registry.add(1, 0.6), settings)
    registry.now = ref(1)
    second = judge(registry.add(2, 0.75), settings)
    assert (first.verdict, first.look.number, second.verdict, second.look.number) == ("promote", 1, "promote", 2)
    assert second.look.test_set == set_name(registry.ids)
    with Ledger(settings) as ledger:
        assert [(row.against, row.against_version) for row in ledger.looks(NAME, second.look.test_set)] == [
            ("baseline", 0),
            ("champion", 1),
        ]


def test_the_verdict_has_the_slices_of_the_test_split_and_the_calibration_of_both(settings, registry):
    verdict = judge(registry.add(1, 0.6), settings)
    names = {one.name for one in verdict.slices}
    assert {"label: mne", "length: short"} <= names
    assert not {name for name in names if name.startswith("source")}  # the labels are the sources here
    assert verdict.calibration.error < 0.05
    assert (verdict.seeds, verdict.probe) == (None, None)


def test_other_seeds_of_the_same_training_are_taken_in_and_other_trainings_are_not(settings, registry):
    registry.add(1, 0.5)
    registry.now = ref(1)
    for version, seed in ((2, 1), (3, 2)):
        registry.add(version, 0.7, seed=seed)
    registry.add(4, 0.2, seed=3, role="control")
    mine = registry.add(5, 0.7, seed=4)
    verdict = judge(mine, settings, POLICY.model_copy(update={"minimum_seeds": 3}))
    assert verdict.seeds.num_seeds == 3
    assert verdict.seeds.low > 0
    assert verdict.verdict == "promote"
    four = judge(mine, settings, POLICY.model_copy(update={"minimum_seeds": 4}))
    assert (four.verdict, four.look.number) == ("inconclusive", verdict.look.number)


def test_a_control_is_compared_at_the_plain_level_and_uses_up_no_look(settings, registry):
    registry.add(1, 0.5)
    registry.now = ref(1)
    assert judge(registry.add(2, 0.7, role="control"), settings).look is None
    assert judge(registry.add(3, 0.5), settings).look.number == 1
    with Ledger(settings) as ledger:
        assert [row.model_version for row in ledger.verdicts(NAME)] == [2, 3]


def test_what_both_models_took_to_train_weigh_and_take_to_answer_is_kept_beside_the_verdict(
    settings, registry, monkeypatch
):
    """Whatever the task: here nobody asks with typing errors."""
    asked = []

    def model_in(folder, *, task):
        def say(texts):
            asked.append((folder.name, task.name, len(texts)))
            time.sleep(0.002 * len(texts) * int(folder.name))

        return say

    monkeypatch.setattr(cost, "model_in", model_in)
    registry.add(1, 0.5)
    registry.now = ref(1)
    challenger = registry.add(2, 0.6)
    with Ledger(settings) as ledger:
        more = {"subject_name": NAME, "device": "cpu", "seconds": 36.0}
        ledger.record_cost("r2", "train", cpu_seconds=70.0, energy_joules=3.6e6, energy_source="rapl", **more)
        ledger.record_cost("r2", "evaluate", cpu_seconds=9.0, **more)
    priced = settings.model_copy(update={"price_a_kwh": 0.5, "price_an_hour": 1.0, "currency": "EUR"})
    found = judge(challenger, priced, POLICY.model_copy(update={"timed_rows": 20})).cost
    assert asked == [(version, "classification", num_rows) for version in "21" for num_rows in (1, 20)]
    mine, theirs = found.challenger, found.champion
    assert (mine.weight_bytes, mine.cpu_seconds, mine.energy_joules, mine.energy_source) == (2000, 70.0, 3.6e6, "rapl")
    assert (mine.money, found.currency) == (pytest.approx(0.5 + 0.01), "EUR")
    assert (theirs.weight_bytes, theirs.cpu_seconds, theirs.money) == (1000, None, None)
    assert found.num_timed == 20 and mine.seconds_per_example > theirs.seconds_per_example > 0.002
    with Ledger(settings) as ledger:
        (look,) = ledger.looks(NAME)
    assert look.evidence["cost"] == found.model_dump(mode="json")


@pytest.mark.parametrize(
    ("challenger", "champion"),
    [("classification", "classification_prompt"), ("classification_prompt", "classification")],
)
def test_a_champion_with_a_head_and_a_challenger_with_a_prompt_are_each_asked_in_their_own_way(
    settings, registry, monkeypatch, challenger, champion
):
    asked = []

    def evaluate(folder, *, task, max_rows, **_):
        asked.append(("measured", folder.name, task))
        return registry.scores[2].assign(score=0.0)

    def model_in(folder, *, task):
        asked.append(("asked", folder.name, task.name))
        return lambda texts: [Answer(LABELS[0], 0.5) for _ in texts]

    monkeypatch.setattr("components.evaluation.evaluate.evaluate", evaluate)
    monkeypatch.setattr(cost, "model_in", model_in)
    monkeypatch.setattr(robustness, "model_in", model_in)
    registry.add(1, 0.5)
    registry.now = ref(1)
    registry.add(2, 0.6)
    for version, task in ((1, champion), (2, challenger)):
        registry.infos[version] = replace(registry.infos[version], task=task)
    registry.scores[2] = registry.scores[2].head(300)  # the champion was measured on more rows
    found = judge(ref(2), settings, POLICY.model_copy(update={"timed_rows": 5, "typo_rows": 10}))
    assert found.num_examples == 300 and found.difference > 0.5
    assert ("measured", "1", champion) in asked
    assert {(folder, task) for _, folder, task in asked} == {("1", champion), ("2", challenger)}


def test_a_probe_that_has_timed_both_is_not_repeated(settings, registry):
    spoken = robustness.Asked(score=1.0, typo_score=0.9, seconds_per_example=0.25)
    probe = robustness.Probe(num_examples=200, typo_share=0.05, challenger=spoken, champion=None)
    with Ledger(settings) as ledger:
        about = {"registry": registry, "ledger": ledger, "settings": settings}
        rows = pd.DataFrame({"text": ["x"] * 30})
        found = cost.cost_pair(registry.add(1, 0.5), None, rows, policy=GatePolicy(), probe=probe, **about)
    assert (found.num_timed, found.challenger.seconds_per_example, found.champion) == (200, 0.25, None)
