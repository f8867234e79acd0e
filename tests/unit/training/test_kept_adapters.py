"""A version of adapters through the stores: registered, measured, fetched elsewhere, verified."""

import json
import shutil
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from components import assets
from components.data import versioning
from components.errors import UsageError
from components.evaluation import candidate
from components.exchange import export
from components.models.pretrained import load_trained
from components.recipes import Finetune
from components.refs import ModelRef
from components.registry import Registry
from components.settings import Settings
from components.tasks import get_task
from components.training import run as training
from components.training.lock import weights_sha256
from components.training.verify import verify
from flows.cli import app

TEXTS = ["filter the brain signal number 25", "answer the http request number 26"]
SORTS = get_task("classification")


@pytest.fixture(scope="module")
def own(installation, small_bert) -> Iterator[Settings]:
    """The installation with base weights of a few thousand numbers."""
    folder = assets._weights_folder(assets.get_asset("minilm"), installation)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(small_bert, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(installation.workspace.root.parent)  # without a server MLflow keeps artifacts where it stands
        patch.setenv("MLFLOW_TRACKING_URI", str(installation.mlflow_url))
        yield installation


@pytest.fixture(scope="module")
def run(own):
    recipe = Finetune(
        name="topics", task="classification", table="topics", base="minilm", num_steps=12, batch_size=4,
        max_length_tokens=24, learning_rate=1e-2, adaptation="lora", lora_rank=4, keep_adapters=True, device="cpu",
    )  # fmt: skip
    return recipe, training.train(recipe, data=versioning.head(own), settings=own)


@pytest.fixture(scope="module")
def version(own, run) -> ModelRef:
    recipe, done = run
    data = versioning.head(own)
    scores = candidate.measure(recipe, run=done, data=data, settings=own)
    return candidate.register(recipe, run=done, data=data, settings=own, scores=scores)


@pytest.fixture
def elsewhere(own, tmp_path, small_bert) -> Settings:
    """Another machine: it has the stores' addresses, and the asset from wherever it has it."""
    settings = own.model_copy(update={"workspace_dir": tmp_path / "fresh", "data_remote": str(own.workspace.remote)})
    folder = assets._weights_folder(assets.get_asset("minilm"), settings)
    shutil.copytree(small_bert, folder)
    return settings


def test_it_is_registered_small_with_a_card_that_names_its_base(own, run, version):
    registry = Registry(own.mlflow_url)
    card = registry.get(version).card
    assert "by LoRA, kept as adapters on `minilm`" in card and "MB with all that lies beside them" in card
    assert version.weights_sha256 == weights_sha256(run[1].model_dir)
    assert candidate.find("topics", version.version, settings=own) == version


def test_another_machine_fetches_the_adapters_and_finds_the_base_by_its_name(own, run, version, elsewhere):
    came = Registry(own.mlflow_url).fetch(version, elsewhere)
    assert came.is_relative_to(elsewhere.workspace.root) and weights_sha256(came) == version.weights_sha256
    assert not (came / "model.safetensors").exists()
    here = load_trained(run[1].model_dir, task=SORTS)
    there = load_trained(came, task=SORTS)
    assert SORTS.answer(*here, TEXTS) == SORTS.answer(*there, TEXTS)
    assert Registry("http://127.0.0.1:1").fetch(version, elsewhere) == came, "nobody is asked again"


def test_it_verifies_bit_for_bit(version, elsewhere):
    found = verify(version, settings=elsewhere)
    assert (found.verdict, found.retrained_sha256) == ("identical", version.weights_sha256)


def test_mlflow_itself_loads_it_on_the_base_of_this_installation(own, run, version, monkeypatch):
    import mlflow
    import pandas as pd

    monkeypatch.setenv("BANYAN_WORKSPACE", str(own.workspace.root))
    monkeypatch.setenv("BANYAN_MLFLOW_URL", str(own.mlflow_url))
    loaded = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    outputs = list(loaded.predict(pd.DataFrame({"text": TEXTS}))["output"])
    assert outputs == [one.output for one in SORTS.answer(*load_trained(run[1].model_dir, task=SORTS), TEXTS)]


def test_it_is_measured_again_on_a_data_version(own, version):
    again = candidate.evaluate_version(version, data=versioning.head(own), settings=own)
    assert again["accuracy"] == Registry(own.mlflow_url).get(version).metrics["accuracy"]


def test_it_is_exported_as_whole_weights(own, run, version, elsewhere, tmp_path, monkeypatch):
    import transformers

    monkeypatch.setenv("BANYAN_WORKSPACE", str(elsewhere.workspace.root))
    monkeypatch.setenv("BANYAN_MLFLOW_URL", str(own.mlflow_url))
    asked = ["export", f"topics@{version.version}", "--to", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, asked)
    assert json.loads(done.stdout) == {"model": str(version), "folder": str(tmp_path / "out"), "merged": True}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", local_files_only=True)
    answers = SORTS.answer(model.eval(), transformers.AutoTokenizer.from_pretrained(tmp_path / "out"), TEXTS)
    kept = SORTS.answer(*load_trained(run[1].model_dir, task=SORTS), TEXTS)
    assert [(one.output, pytest.approx(one.confidence, abs=1e-5)) for one in kept] == [
        (one.output, one.confidence) for one in answers
    ]
    assert "kept as adapters" in (tmp_path / "out/README.md").read_text()
    with pytest.raises(UsageError, match="is there already"):
        export(version, to=tmp_path / "out", settings=elsewhere)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
