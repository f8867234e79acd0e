"""The OpenVINO engine on small models: admitted by the parity gate, writing, cancelling, and refused when wrong."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from components.errors import ParityMismatch, ServingError
from components.evaluation.parity import check
from components.evaluation.parity_reference import reference
from components.recipes import Finetune
from components.refs import ModelRef
from components.serving import choice
from components.serving.batching import Batcher
from components.serving.choice import choose, export, held_against
from components.serving.decoding import Draft, Sampling
from components.serving.engines import TorchEngine
from components.settings import Settings
from tests.unit.evaluation.test_parity import table, texts

from . import tiny_models
from .tiny_models import LABELS, TEXTS

pytest.importorskip("openvino_genai", reason="the extra `fast` is not installed")

REF = ModelRef(name="banyan-topics", version=1, run_id="r", weights_sha256="5" * 64)
COMMON = {"name": "t", "table": "topics", "base": "tiny", "num_steps": 1, "learning_rate": 1e-3}
WRITE = Finetune(task="summarisation", max_length_tokens=32, max_new_tokens=6, **COMMON)
CLASSIFY = Finetune(task="classification", max_length_tokens=16, **COMMON)


class Served:
    """A model's folder, its graph and what the gate holds it against."""

    def __init__(self, root: Path, recipe: Finetune, model_dir: Path, data_dir: Path) -> None:
        before = torch.get_num_threads()
        self.task, self.model_dir, self.graph = recipe.task, model_dir, root / "graph"
        self.expected = reference(recipe, model_dir=model_dir, weights_dir=model_dir, data_dir=data_dir)
        export(model_dir, task=recipe.task, folder=self.graph)
        self.parity = held_against(REF, model_dir, task=recipe.task, folder=self.graph, expected=self.expected)
        self.engine = self.load()
        self.torch = TorchEngine(REF, model_dir, task=recipe.task)
        torch.set_num_threads(before)

    def load(self):
        from components.serving.engines_openvino import OpenVinoEngine

        return OpenVinoEngine(REF, self.model_dir, task=self.task, graph_dir=self.graph)


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Served:
    root = tmp_path_factory.mktemp("writer")
    data = table(root / "data", task="summarisation", target=[text[::-1] for text in texts(60)])
    return Served(root, WRITE, tiny_models.writer(root / "model"), data)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Served:
    root = tmp_path_factory.mktemp("classifier")
    data = table(root / "data", task="classification", label=[LABELS[i % 3] for i in range(60)])
    return Served(root, CLASSIFY, tiny_models.classifier(root / "model"), data)


def test_a_writer_is_admitted_and_writes_what_torch_writes(writer):
    assert writer.parity.passed, str(writer.parity)
    assert writer.parity.num_probes >= 100
    for text, mine, other in zip(TEXTS, writer.engine.answer(TEXTS), writer.torch.answer(TEXTS), strict=True):
        assert mine.output == other.output, text
        assert mine.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_a_classifier_is_admitted_answers_as_torch_and_has_its_embeddings(classifier):
    assert classifier.parity.passed, str(classifier.parity)
    for mine, other in zip(classifier.engine.answer(TEXTS), classifier.torch.answer(TEXTS), strict=True):
        assert [label for label, _ in mine.alternatives] == [label for label, _ in other.alternatives]
        assert mine.confidence == pytest.approx(other.confidence, abs=1e-3)
    assert torch.allclose(
        torch.tensor(classifier.engine.embed(TEXTS)), torch.tensor(classifier.torch.embed(TEXTS)), atol=1e-3
    )
    assert classifier.engine.num_dimensions == classifier.torch.num_dimensions


def test_the_receipt_says_which_engine_and_precision(writer):
    assert (writer.engine.generation["engine"], writer.engine.generation["precision"]) == ("openvino", "float32")


def test_texts_join_and_leave_a_seed_repeats_and_a_cancelled_one_leaves_alone(writer):
    batcher = Batcher(writer.engine)
    try:
        drawn = Sampling(max_tokens=12, temperature=2.0, seed=7)
        [first] = [batcher.write(TEXTS[0], drawn, lambda _: None).done.result(30).text]
        pieces: list[str] = []
        long = batcher.write(TEXTS[1], Sampling(max_tokens=400), lambda _: None)
        beside = batcher.write(TEXTS[0], drawn, pieces.append)
        assert beside.done.result(30).text == first == "".join(pieces)
        long.cancel()
        ended = long.done.result(30)
        assert ended.finish_reason == "cancelled" or ended.num_tokens == 400
        assert batcher.write(TEXTS[0], drawn, lambda _: None).done.result(30).text == first
    finally:
        batcher.close()


def test_what_its_cache_cannot_hold_is_refused_and_those_behind_it_are_written(writer):
    decoder = writer.engine.decoder
    with pytest.raises(ServingError, match="not to be written"):
        decoder.join([Draft(TEXTS[0], Sampling(max_tokens=10**6), lambda _: None)])
    behind = Draft(TEXTS[0], Sampling(max_tokens=3), lambda _: None)
    decoder.join([behind])
    while decoder.num_rows:
        decoder.step()
    assert behind.done.result(0).num_tokens == 3


def test_a_graph_of_other_weights_is_blocked_where_it_begins_to_differ(writer, tmp_path):
    other = tiny_models.writer(tmp_path / "other", seed=1)
    export(other, task="summarisation", folder=tmp_path / "graph")
    found = held_against(
        REF, writer.model_dir, task="summarisation", folder=tmp_path / "graph", expected=writer.expected
    )
    assert not found.passed
    assert found.mismatch.what == "log-probability"


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


def chosen(served: Served, settings: Settings, **options) -> TorchEngine:
    kept = json.dumps({"reference": served.expected.model_dump()}).encode()
    options = {"tags": {}, "admission": lambda: kept} | options
    return choose(REF, served.model_dir, task=served.task, settings=settings, **options)


def test_the_fast_engine_is_chosen_and_admitted_once(classifier, settings, monkeypatch):
    engine = chosen(classifier, settings)
    assert (engine.name, engine.instead) == ("openvino", "")
    assert engine.generation["parity"]["num_probes"] >= 100
    monkeypatch.setattr(choice, "export", lambda *_, **__: pytest.fail("it was admitted before"))
    assert chosen(classifier, settings).name == "openvino"


def test_torch_answers_with_the_reason_where_the_gate_blocks_or_has_nothing_to_go_by(classifier, settings, tmp_path):
    shifted = classifier.expected.model_copy(
        update={"probes": tuple(p.model_copy(update={"values": p.values[::-1]}) for p in classifier.expected.probes)}
    )
    kept = json.dumps({"reference": shifted.model_dump()}).encode()
    engine = chosen(classifier, settings, admission=lambda: kept)
    assert engine.name == "torch"
    assert "the parity gate blocks it" in engine.instead
    assert "probability 0" in engine.instead
    shutil.rmtree(settings.workspace.root)
    engine = chosen(classifier, settings, admission=lambda: b"{}"[:1])
    assert "without a parity reference" in engine.instead


def test_a_version_that_torch_was_blocked_for_is_not_served_by_torch(classifier, settings):
    found = check(classifier.torch, classifier.expected).model_copy(update={"passed": False})
    tags = {"banyan.parity": json.dumps({"engines": {"torch": found.model_dump()}})}
    with pytest.raises(ParityMismatch, match="may not be served"):
        chosen(classifier, settings, tags=tags, wanted="torch")
