"""A registered version before the gate: what is compared, counted and kept. The registry is a dictionary."""

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from components.data.tables import columns, content_id, write_split, write_table_info
from components.data.versioning import Manifest
from components.evaluation import candidate
from components.evaluation.spending import set_name
from components.ledger.store import Ledger
from components.recipes import Finetune, GatePolicy
from components.refs import DataRef, ModelRef
from components.registry import VersionInfo
from components.settings import Settings

NAME = "banyan-library"
LABELS = ("django", "mne", "sympy")
POLICY = GatePolicy(num_resamples=1000)
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
