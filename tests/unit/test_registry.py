"""The registry, on a real MLflow server, with real (tiny, random) models of each kind that is registered."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from components.errors import MappingError, RegistryError, RegistryUnavailable, VersionNotFound
from components.models.families import FAMILIES, load_language_model
from components.models.pretrained import load_trained
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain
from components.refs import DataRef, ModelRef
from components.registry import Registry, model_name
from components.settings import Settings
from components.tasks import get_task
from components.training.lock import weights_sha256
from tests.mlflow_server import MlflowServer

DATA = DataRef(version="d" * 32, tables={"library": "t" * 64})
TEXTS = ["def add(a, b): return a + b", "read raw data from a file", "simplify an expression"] * 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server.url


@pytest.fixture(scope="module")
def registry(url) -> Registry:
    return Registry(url)


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Kind → a Hugging Face folder, as training leaves it."""
    import transformers

    torch.manual_seed(0)
    tokenizer = train_bpe(TEXTS, 300)
    tokenizer.model_max_length = 32
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    labels = dict(enumerate(["django", "mne", "sympy"]))
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=len(tokenizer), **size, id2label=labels, label2id={v: k for k, v in labels.items()}
        )
    )
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(tokenizer), **size))
    llama.generation_config = transformers.GenerationConfig(
        max_new_tokens=4, do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    recipe = Pretrain(
        name="t", num_steps=1, learning_rate=0.01, num_layers=1, num_heads=2, hidden_size=16, vocab_size=300
    )
    gpt = FAMILIES["gpt"].build(recipe, len(tokenizer))
    root = tmp_path_factory.mktemp("models")
    for kind, model in (("classification", bert), ("summarisation", llama.to(torch.bfloat16)), ("corpus", gpt)):
        model.save_pretrained(root / kind)
        tokenizer.save_pretrained(root / kind)
    (root / "classification" / "checkpoint-3").mkdir()
    (root / "classification" / "checkpoint-3" / "state").write_text("not part of the model")
    return {kind: root / kind for kind in ("classification", "summarisation", "corpus")}


@pytest.fixture
def register(registry, models, request) -> Callable[..., ModelRef]:
    """Registers under a name of the test's own."""

    def make(kind: str = "classification", *, key: str = "", **more) -> ModelRef:
        scores = pd.DataFrame({"id": ["a", "b"], "prediction": ["mne", "mne"], "score": [1.0, 0.0]})
        given = {
            "model_dir": models[kind],
            "task": kind,
            "lock": {"key": key, "code": "c" * 64, "revision": "abc"},
            "data": DATA,
            "metrics": {"accuracy": 0.5},
            "card": "# A model\n\nPublic weights may have seen these texts.",
            "example": "read raw data",
            "per_example": scores,
            "baseline": scores.assign(score=0.0),
        }
        name = model_name(f"{request.node.name[:40]}").replace("[", "-").replace("]", "")
        return registry.register(name, **{**given, **more})

    return make


def test_a_version_carries_what_made_it_and_what_it_is_worth(register, registry):
    ref = register(key="k1", tags={"banyan.role": "control"})
    info = registry.get(ref)
    assert (info.ref, info.task, info.role, info.data_version, info.lock_key) == (
        ref,
        "classification",
        "control",
        DATA.version,
        "k1",
    )
    assert info.metrics == {"accuracy": 0.5}
    assert info.card.startswith("# A model")
    assert info.tags["banyan.code_sha256"] == "c" * 64
    assert registry.lock(ref)["revision"] == "abc"
    assert list(registry.per_example(ref)["score"]) == [1.0, 0.0]
    assert list(registry.baseline(ref)["score"]) == [0.0, 0.0]
    run = next(run for run in registry.runs(ref.name))
    assert (run.run_id, run.status, run.metrics) == (ref.run_id, "FINISHED", {"accuracy": 0.5})


@pytest.mark.parametrize("kind", ["classification", "summarisation"])
def test_what_comes_back_answers_like_what_went_in(kind, register, registry, models, settings):
    ref = register(kind)
    task = get_task(kind)
    came = registry.fetch(ref, settings)
    assert weights_sha256(came) == ref.weights_sha256 == weights_sha256(models[kind])
    before = task.answer(*load_trained(models[kind], task=task), TEXTS[:3])
    assert task.answer(*load_trained(came, task=task), TEXTS[:3]) == before
    assert not list(came.rglob("checkpoint*"))


@pytest.mark.parametrize("kind", ["classification", "summarisation", "corpus"])
def test_mlflow_itself_can_load_a_version_and_answers_as_the_gateway_does(kind, register, models, url, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    ref = register(kind)
    loaded = mlflow.pyfunc.load_model(f"models:/{ref.name}/{ref.version}")
    asked = pd.DataFrame({"text": TEXTS[:2]})
    outputs = list(loaded.predict(asked)["output"])
    if kind == "corpus":
        assert all(output.startswith(text) for output, text in zip(outputs, TEXTS, strict=False))
        assert list(loaded.predict(asked, params={"seed": 1})["output"]) != outputs
        load_language_model(models[kind])
    else:
        task = get_task(kind)
        answers = task.answer(*load_trained(models[kind], task=task), TEXTS[:2])
        assert outputs == [answer.output for answer in answers]
    inputs = loaded.metadata.get_input_schema()
    assert [column.name for column in inputs] == ["text"]
    assert loaded.metadata.saved_input_example_info is not None


def test_parameters_of_generation_reach_the_model(register, url, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    ref = register("summarisation")
    loaded = mlflow.pyfunc.load_model(f"models:/{ref.name}/{ref.version}")
    asked = pd.DataFrame({"text": TEXTS[:1]})
    short, own = (len(loaded.predict(asked, params={"max_new_tokens": n})["output"].iloc[0]) for n in (1, 0))
    assert short < own


def test_registering_the_same_lock_twice_makes_one_version(register, registry):
    first = register(key="same")
    assert register(key="same") == first
    assert [info.ref.version for info in registry.versions(first.name)] == [1]
    assert register(key="other").version == 2
    assert registry.find("same", name=first.name) == first
    assert registry.find("never seen") is None


def test_champions_are_who_holds_the_alias(register, registry):
    first, second = register(key="1"), register(key="2")
    assert registry.champion(first.name) is None
    assert first.name not in registry.champions()
    registry.set_alias(first)
    registry.set_alias(second)
    assert registry.champion(first.name) == second == registry.champions()[first.name]
    assert [info.aliases for info in registry.versions(first.name)] == [("champion",), ()]


def test_weights_that_were_changed_in_the_store_are_not_served(register, registry, settings):
    ref = register()
    forged = ref.model_copy(update={"weights_sha256": "f" * 64})
    with pytest.raises(RegistryError, match="have sha256"):
        registry.fetch(forged, settings)
    folder = settings.workspace.models / ref.name / str(ref.version)
    assert list(folder.iterdir()) == [], "nothing half-fetched is left"


def test_a_fetched_version_is_not_fetched_again(register, registry, settings):
    ref = register()
    folder = registry.fetch(ref, settings)
    assert Registry("http://127.0.0.1:1").fetch(ref, settings) == folder


def test_what_is_not_there_is_not_found(registry, register):
    ref = register(per_example=None)
    with pytest.raises(VersionNotFound):
        registry.get(ref.model_copy(update={"version": 99}))
    with pytest.raises(VersionNotFound):
        registry.ref("banyan-nothing", 1)
    with pytest.raises(VersionNotFound):
        registry.per_example(ref)
    assert registry.champion("banyan-nothing") is None
    assert registry.versions("banyan-nothing") == []


def test_an_unknown_task_is_refused_before_anything_is_made(register, registry):
    with pytest.raises(MappingError, match="no task 'astrology'"):
        register(task="astrology")
    assert not [name for name in registry.names() if "unknown_task" in name]
    assert not [run for run in registry.runs() if "unknown_task" in run.name]


def test_a_server_that_is_down_is_a_transient_error(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    dead = Registry(f"http://127.0.0.1:{free_port()}")
    for call in (dead.champions, lambda: dead.champion("banyan-library"), lambda: dead.versions("x"), dead.runs):
        with pytest.raises(RegistryUnavailable, match="MLflow did not answer"):
            call()


def test_metrics_arrive_in_order_and_a_resumed_run_goes_on(registry):
    with registry.start_run("curves", name="a", params={"lr": 0.1}, key="k") as run:
        for step in range(250):
            run.log({"loss": 250.0 - step, "tokens": float(step)}, step=step)
    history = registry.history(run.run_id, "loss")
    assert history == [(step, 250.0 - step) for step in range(250)]
    assert registry.runs("curves")[0].params == {"lr": "0.1"}

    killed = registry.start_run("curves", name="b", key="interrupted")
    killed.log({"loss": 9.0}, step=1)
    killed.flush()
    resumed = registry.start_run("curves", name="b", key="interrupted")
    assert resumed.run_id == killed.run_id
    resumed.log({"loss": 8.0}, step=1)
    resumed.end()
    assert registry.history(resumed.run_id, "loss") == [(1, 8.0)]
    assert registry.start_run("curves", name="b", key="interrupted").run_id != killed.run_id


def test_a_run_whose_block_raised_has_failed(registry):
    with pytest.raises(ZeroDivisionError), registry.start_run("broken", name="a") as run:
        run.log({"loss": 1.0}, step=1)
        raise ZeroDivisionError
    (found,) = registry.runs("broken")
    assert (found.status, found.metrics) == ("FAILED", {"loss": 1.0})


def test_training_goes_on_while_the_server_is_down_and_the_curve_arrives_late(registry, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = registry.start_run("late", name="a")
    client, run._client = run._client, Registry(f"http://127.0.0.1:{free_port()}")._client
    for step in range(150):
        run.log({"loss": float(step)}, step=step)
    with pytest.raises(RegistryUnavailable):
        run.flush()
    run._client = client
    run.end()
    assert len(registry.history(run.run_id, "loss")) == 150


def test_the_figures_of_a_registered_model_stand_at_its_last_step(registry, register):
    ref = register(metrics={"accuracy": 0.5}, num_steps=40)
    assert registry.history(ref.run_id, "accuracy") == [(40, 0.5)]
