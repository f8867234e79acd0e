"""The parity gate on small models: what serves must be what was trained; planted faults are found where they begin."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from components.data import tables
from components.errors import ParityMismatch
from components.evaluation import parity_reference
from components.evaluation.parity import Parity, Reference, check
from components.evaluation.parity_reference import Trainer, probe_rows, reference
from components.recipes import Finetune
from components.refs import ModelRef
from components.serving.engines import TorchEngine
from components.tasks import get_task
from tests.unit.serving import tiny_models
from tests.unit.serving.tiny_models import LABELS

REF = ModelRef(name="banyan-t", version=0, run_id="r", weights_sha256="0" * 64)
TEXT = "return the shortest path between two nodes of a weighted graph and solve its equations"
COMMON = {"name": "t", "base": "tiny", "num_steps": 1, "learning_rate": 1e-3}
CLASSIFY = Finetune(task="classification", table="topics", max_length_tokens=16, **COMMON)
WRITE = Finetune(task="summarisation", table="topics", max_length_tokens=32, max_new_tokens=6, **COMMON)


def texts(count: int) -> list[str]:
    words = TEXT.split()
    return [" ".join(words[(i * 7 + k * k) % len(words)] for k in range(3 + i % 9)) + f" {i}" for i in range(count)]


def table(folder: Path, *, task: str, **columns: list[str]) -> Path:
    every = pd.DataFrame({"text": texts(60), **columns})
    every = every.assign(source="t", licence="t", group="t", origin="file", imputed="")
    every["id"] = every["text"].map(tables.content_id)
    for split, rows in (("train", every[:50]), ("test", every[50:])):
        tables.write_split(folder, "topics", split, rows, task=task)
    labels = sorted(get_task(task).labels(columns.get("label", columns.get("labels", []))))
    tables.write_table_info(folder, "topics", task=task, labels=labels, licences={"t": "t"})
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    return table(tmp_path_factory.mktemp("labelled"), task="classification", label=[LABELS[i % 3] for i in range(60)])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return table(tmp_path_factory.mktemp("written"), task="summarisation", target=[t[::-1] for t in texts(60)])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    return tiny_models.classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Path:
    return tiny_models.writer(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def expected(writer, written) -> Reference:
    return reference(WRITE, model_dir=writer, weights_dir=writer, data_dir=written)


@pytest.fixture(scope="module")
def expected_labels(classifier, labelled) -> Reference:
    return reference(CLASSIFY, model_dir=classifier, weights_dir=classifier, data_dir=labelled)


@pytest.fixture
def copied(writer, tmp_path) -> Path:
    return Path(shutil.copytree(writer, tmp_path / "copy"))


def engine(folder: Path, *, task: str = "summarisation") -> TorchEngine:
    return TorchEngine(REF, folder, task=task, warm=False)


def test_a_writer_that_serves_what_was_trained_passes_alone_and_in_a_mixed_batch(writer, expected):
    found = check(engine(writer), expected)
    assert found.passed, str(found)
    assert found.num_probes >= 100
    num_written = sum(len(probe.values) for probe in expected.probes)
    assert num_written < found.num_values < 2 * num_written  # all of them together, the first ones alone
    assert 0 <= found.mean <= found.largest < found.tolerance


def test_a_classifier_that_serves_what_was_trained_passes_with_all_its_probabilities(classifier, expected_labels):
    found = check(engine(classifier, task="classification"), expected_labels)
    assert found.passed, str(found)
    assert (found.num_probes, found.num_values) == (len(expected_labels.probes), 2 * 3 * len(expected_labels.probes))


def test_of_sets_of_labels_each_is_compared_by_itself(classifier, tmp_path):
    from safetensors.torch import load_file, save_file

    sets = [json.dumps(sorted({LABELS[i % 3], LABELS[i % 2]} if i % 4 else ())) for i in range(60)]
    data = table(tmp_path / "sets", task="multilabel", labels=sets)
    recipe = CLASSIFY.model_copy(update={"task": "multilabel"})
    wanted = reference(recipe, model_dir=classifier, weights_dir=classifier, data_dir=data)  # its loss adds up
    found = check(engine(classifier, task="multilabel"), wanted)
    assert found.passed, str(found)
    folder = Path(shutil.copytree(classifier, tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] += 1.0  # of one label out of all it would change nothing
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert not check(engine(folder, task="multilabel"), wanted).passed


def test_a_template_that_is_skewed_is_found_at_the_first_token_of_it(writer, expected, monkeypatch):
    task = get_task("summarisation")
    monkeypatch.setattr(type(task), "template", task.template.replace("What", "Say what"))
    found = check(engine(writer), expected)
    assert not found.passed
    assert found.mismatch.what == "token"
    assert not found.mismatch.together
    probe = next(one for one in expected.probes if one.text == found.mismatch.text)
    assert probe.ids[found.mismatch.position] == found.mismatch.expected != found.mismatch.got
    assert f"token {found.mismatch.position} of" in str(found)


def test_merges_in_the_wrong_order_are_found(copied, expected):
    path = copied / "tokenizer.json"
    content = json.loads(path.read_text())
    merges = content["model"]["merges"]
    content["model"]["merges"] = merges[::-1]  # the rarest pairs are now merged before the commonest
    path.write_text(json.dumps(content))
    found = check(engine(copied), expected)
    assert not found.passed
    assert found.mismatch.what == "token"


def test_another_tokenizer_is_found(copied, expected):
    from components.models.tokenizer import train_bpe

    other = train_bpe(["completely other words, trained elsewhere"] * 3, vocab_size=300)
    other.model_max_length = 32
    other.save_pretrained(copied)
    found = check(engine(copied), expected)
    assert not found.passed
    assert found.mismatch.what == "token"


def test_other_weights_behind_the_same_tokens_are_found_by_their_log_probabilities(tmp_path, expected):
    found = check(engine(tiny_models.writer(tmp_path / "other", seed=1)), expected)
    assert not found.passed
    assert found.mismatch.what == "log-probability"
    probe = next(one for one in expected.probes if one.text == found.mismatch.text)
    assert found.mismatch.position >= probe.num_given
    assert found.mismatch.expected == probe.values[found.mismatch.position - probe.num_given]


def test_a_classifier_whose_labels_changed_places_is_found(classifier, expected_labels, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(classifier, tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][[1, 0, 2]].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = check(engine(folder, task="classification"), expected_labels)
    assert not found.passed
    assert (found.mismatch.what, found.mismatch.position) == ("probability", 0)


def test_a_fault_of_batches_alone_is_found_in_the_mixed_batch(writer, expected):
    served = engine(writer)
    forward = served.decoder._forward

    def shifted(ids, mask, cache):  # every padded row's positions start one too late
        logits, cache = forward(ids, torch.where(mask.min() == 0, mask * 0 + 1, mask), cache)
        return logits, cache

    served.decoder._forward = shifted
    found = check(served, expected)
    assert not found.passed
    assert found.mismatch.together
    assert "in a mixed batch" in str(found)


def test_a_text_that_is_trained_on_whole_is_continued_from_the_same_tokens(writer, written):
    recipe = WRITE.model_copy(update={"task": "generation"})
    expected = reference(recipe, model_dir=writer, weights_dir=writer, data_dir=written, num_probes=20)
    found = check(engine(writer, task="generation"), expected)
    assert found.passed, str(found)


def test_the_reference_is_the_trainers_own_loss(writer, written, monkeypatch):
    kind = type(get_task("summarisation"))
    real = kind.loss

    def longer(self, model, batch):
        summed, count = real(self, model, batch)
        return summed * 1.1, count

    monkeypatch.setattr(kind, "loss", longer)
    with pytest.raises(ParityMismatch, match="add up to"):
        reference(WRITE, model_dir=writer, weights_dir=writer, data_dir=written)


def test_a_table_of_few_rows_gives_enough_probes_and_those_that_tokenizers_trip_over(written, tmp_path):
    rows = probe_rows(data_dir=written, recipe=WRITE)
    assert len(rows) >= 100
    assert rows["text"].is_unique
    assert set(parity_reference.HARD) <= set(rows["text"])


def test_an_engine_that_writes_by_itself_is_held_against_what_the_trainer_thinks_of_it(writer, expected):
    """As encoder–decoders do: no tokens can be given to them."""
    served = engine(writer)
    served.decoder, served.takes_given = None, False
    trainer = Trainer(writer, task=get_task("summarisation"))
    found = check(served, expected, rescore=lambda reads: trainer.read(reads, pad_id=0))
    assert found.passed, str(found)
    assert found.num_values >= 2 * len(expected.probes)
    other = Trainer(writer, task=get_task("summarisation"))
    with torch.no_grad():
        other.model.get_output_embeddings().weight.mul_(0.9)
    found = check(served, expected, rescore=lambda reads: other.read(reads, pad_id=0))
    assert not found.passed


def test_a_verdict_survives_being_kept(writer, expected):
    found = check(engine(writer), expected)
    assert Parity.model_validate_json(found.model_dump_json()) == found
    assert Reference.model_validate_json(expected.model_dump_json()) == expected


OWN_FAMILIES = ["rnn", "lstm", "gru", "feedforward", "ngram_gpt"]


@pytest.mark.parametrize("family", OWN_FAMILIES)
def test_a_family_that_carries_its_own_along_passes_and_a_state_that_lags_is_found(family, written, tmp_path):
    from components.models.carried import Carried

    folder = tiny_models.own_writer(tmp_path / family, family)
    recipe = WRITE.model_copy(update={"task": "generation"})
    wanted = reference(recipe, model_dir=folder, weights_dir=folder, data_dir=written)
    served = engine(folder, task="generation")
    found = check(served, wanted)
    assert found.passed, str(found)
    assert found.num_probes >= 100
    with pytest.MonkeyPatch.context() as patch:  # planted: what a token leaves behind is not kept
        patch.setattr(Carried, "carry", _only_at_first(Carried.carry))
        late = check(served, wanted)
    assert not late.passed
    assert late.mismatch.what == "log-probability"
    with pytest.MonkeyPatch.context() as patch:  # planted: the rows of a batch change places
        patch.setattr(Carried, "carry", _turned(Carried.carry))
        mixed = check(served, wanted)
    assert not mixed.passed
    assert mixed.mismatch.together


def _only_at_first(carry):
    def faulty(self, *states):
        if not self.states or len(self.states[0]) != len(states[0]):  # of another batch
            carry(self, *states)

    return faulty


def _turned(carry):
    return lambda self, *states: carry(self, *(state.roll(1, 0) for state in states))
