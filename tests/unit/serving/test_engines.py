"""The torch engine on small random models, as training leaves them on disk."""

import asyncio
import hashlib

import pytest

from components.errors import InputFileError
from components.refs import DataRef, ModelRef
from components.registry import Registry
from components.serving.champions import Seat
from components.serving.engines import TorchEngine, registry_champions
from components.settings import Settings
from components.tasks import get_task
from components.tasks.base import template_sha256

from . import tiny_models
from .tiny_models import LABELS, TEXTS, classifier

REF = ModelRef(name="banyan-library", version=3, run_id="r", weights_sha256="a" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier's Hugging Face folder."""
    return classifier(tmp_path_factory.mktemp("model"))


def test_an_engine_answers_from_a_folder_with_all_labels_ranked(folder):
    engine = TorchEngine(REF, folder, task="classification")
    [answer] = engine.answer(TEXTS[:1])
    assert engine.labels == tuple(LABELS)
    assert sorted(label for label, _ in answer.alternatives) == LABELS
    assert sum(p for _, p in answer.alternatives) == pytest.approx(1.0, abs=1e-5)
    assert answer.alternatives[0] == (answer.output, answer.confidence)


def test_an_answer_does_not_depend_on_who_asks_at_the_same_time(folder):
    engine = TorchEngine(REF, folder, task="classification")
    together = engine.answer(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        [alone] = engine.answer([text])
        assert alone.output == answer.output
        assert alone.confidence == pytest.approx(answer.confidence, abs=1e-5)


def test_what_shapes_an_answer_is_told_for_the_receipt(folder):
    engine = TorchEngine(REF, folder, task="classification")
    told = {"engine": "torch", "precision": "float32", "max_length_tokens": 16}
    tokenizer = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert engine.generation == {**told, "tokenizer_sha256": tokenizer}
    assert engine.template_sha256 == template_sha256(get_task("classification"))
    assert engine.ref == REF


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A generator's folder."""
    return tiny_models.writer(tmp_path_factory.mktemp("writer"))


def test_a_generator_tells_how_long_it_writes_and_has_no_labels(writer):
    engine = TorchEngine(REF, writer, task="summarisation")
    assert engine.generation["max_new_tokens"] == 6
    assert engine.generation["do_sample"] is False
    assert engine.labels == ()


def test_a_written_answer_does_not_depend_on_who_asks_at_the_same_time(writer):
    engine = TorchEngine(REF, writer, task="summarisation")
    together = engine.answer(TEXTS)
    assert [engine.answer([text])[0].output for text in TEXTS] == [answer.output for answer in together]
    assert all(answer.alternatives == () for answer in together)


def test_the_registry_s_champions_are_seated_and_a_model_without_a_task_is_left_out(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a server MLflow keeps artifacts in the current folder
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("BANYAN_MLFLOW_URL", f"sqlite:///{tmp_path}/mlflow.db")
    settings = Settings()
    registry = Registry(settings.mlflow_url)
    for name, task in (("banyan-library", "classification"), ("banyan-gpt", "corpus")):
        data = DataRef(version="d" * 32, tables={})
        model = registry.register(
            name, model_dir=folder, task=task, lock={}, data=data, metrics={}, card="", example=TEXTS[0]
        )
        registry.set_alias(model)

    async def seat() -> tuple[list[Seat], ModelRef]:
        champions = registry_champions(settings)
        await champions.check()
        await asyncio.gather(*(seat.loading for seat in champions.seats() if seat.loading))
        seats = champions.seats()
        engine = seats[0].batcher.engine
        answer = champions.batcher("library").submit(TEXTS[0]).result(20)
        assert answer == engine.answer(TEXTS[:1])[0]
        await champions.close()
        return seats, engine.ref

    [_], ref = asyncio.run(seat())
    assert ref == registry.champion("banyan-library")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputFileError, match="holds no model"):
        TorchEngine(REF, tmp_path, task="classification")
