"""What the evaluation harness is told of a model, against the model itself; and its own tasks where it is installed."""

import math
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components import assets
from components.errors import InputFileError, UsageError
from components.evaluation import harness
from components.evaluation.harness import Reader, harness_model, reader_of, run_harness, tasks_in
from components.settings import Settings
from tests.unit.serving.tiny_models import classifier, writer

TASKS = Path(__file__).parents[3] / "docs/guide/harness"


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    folder = writer(tmp_path_factory.mktemp("writer"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Reader(AutoModelForCausalLM.from_pretrained(folder), tokenizer, max_tokens=64, batch_size=3)


def by_hand(reader: Reader, ids: list[int], num_after: int) -> float:
    """One token after the other, alone."""
    total = 0.0
    for at in range(len(ids) - num_after, len(ids)):
        with torch.inference_mode():
            logits = reader.model(input_ids=torch.tensor([ids[:at]])).logits[0, -1]
        total += float(logits.log_softmax(-1)[ids[at]])
    return total


def test_a_continuation_is_as_likely_as_its_tokens_one_by_one(reader):
    texts = [("Return the", " shortest path."), ("Solve", " an equation"), ("x", " x"), ("Return the shortest", " p")]
    pairs = [reader.pair(*one) for one in texts]
    found = reader.likelihoods(pairs)
    for (before, after), (value, _) in zip(pairs, found, strict=True):
        assert value == pytest.approx(by_hand(reader, before + after, len(after)), rel=1e-4)


def test_what_greedy_decoding_says_is_known_as_greedy(reader):
    before = reader.ids("Return the")
    made = reader.model.generate(input_ids=torch.tensor([before]), max_new_tokens=4, do_sample=False)
    after = made[0, len(before) :].tolist()
    assert reader.likelihoods([(before, after)])[0][1]
    other = [(after[0] + 1) % 200, *after[1:]]
    assert not reader.likelihoods([(before, other)])[0][1]


def test_blanks_before_a_continuation_belong_to_it(reader):
    assert reader.pair("Return ", "the") == reader.pair("Return", " the")
    assert reader.pair("", "the")[0] == [reader.start]
    assert reader.likelihoods([([1], [])]) == [(0.0, True)]


def test_a_whole_text_is_seen_once_in_windows(reader):
    text = "Return the shortest path. " * 12
    ids = reader.ids(text)
    assert len(ids) > 2 * reader.max_tokens
    total = 0.0
    for at in range(0, len(ids), reader.max_tokens):
        part = ids[at : at + reader.max_tokens]
        total += by_hand(reader, [[reader.start, *ids][at], *part], len(part))
    assert reader.rolling(text) == pytest.approx(total, rel=1e-4)
    assert reader.rolling("") == 0


def test_a_continuation_ends_before_what_is_to_end_it(reader):
    whole = reader.go_on("Return the", until=[], most=8)
    assert whole
    assert reader.go_on("Return the", until=[whole[2]], most=8) == whole[: whole.index(whole[2])]


def test_tasks_are_found_with_their_data_beside_them(tmp_path):
    found = tasks_in(TASKS)
    assert [task["task"] for task in found] == ["banyan_facts", "banyan_lists", "banyan_prose"]
    assert all(Path(task["dataset_kwargs"]["data_files"]["test"]).is_file() for task in found)
    with pytest.raises(InputFileError, match="no harness task"):
        tasks_in(tmp_path)
    (tmp_path / "bad.yaml").write_text("task: x\ndataset_kwargs: {data_files: {test: gone.jsonl}}\n")
    with pytest.raises(InputFileError, match="no task of the harness"):
        tasks_in(tmp_path)


def test_without_the_harness_the_remedy_is_told(reader, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)  # as if it could not be imported
    with pytest.raises(UsageError, match="not installed") as told:
        harness_model(reader)
    assert "banyan-llm[eval]" in told.value.remedy


def test_the_harness_itself_runs_on_a_model_by_its_name(reader, monkeypatch, tmp_path):
    installed = pytest.importorskip("lm_eval", reason="the extra `eval` (lm-eval) is not installed")
    monkeypatch.setattr(harness, "reader_of", lambda which, **_: (reader, f"banyan-{which} v1"))
    found = run_harness("writer", TASKS, settings=Settings(BANYAN_WORKSPACE=tmp_path), max_rows=3)
    assert (found["model"], found["lm_eval"]) == ("banyan-writer v1", installed.__version__)
    assert set(found["tasks"]) == {"banyan_facts", "banyan_lists", "banyan_prose"}
    assert 0 <= found["tasks"]["banyan_facts"]["acc"] <= 1
    assert math.isfinite(found["tasks"]["banyan_prose"]["bits_per_byte"])
    assert found["num_rows"]["banyan_facts"]["effective"] == 3


def test_a_model_that_reads_both_ways_is_refused_by_the_harness(tmp_path, monkeypatch):
    folder = classifier(tmp_path / "classifier")
    monkeypatch.setattr(assets, "load_assets", lambda: {"encoder": None})
    monkeypatch.setattr(assets, "weights", lambda *_, **__: folder)
    with pytest.raises(UsageError, match="does not write from left to right"):
        reader_of("encoder", settings=Settings(BANYAN_WORKSPACE=tmp_path), batch_size=1)
    monkeypatch.setattr(assets, "weights", lambda *_, **__: writer(tmp_path / "writer"))
    found, name = reader_of("encoder", settings=Settings(BANYAN_WORKSPACE=tmp_path), batch_size=1)
    assert (name, found.max_tokens) == ("encoder", 512)
