"""Training rows that are like an input: by what the model makes of them, or by their words where it makes nothing."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import transformers

from components.data import versioning
from components.evaluation import explained, similar_rows
from components.models import recurrent, transformer, voting
from components.models.tokenizer import train_bpe
from components.refs import ModelRef
from components.registry import VersionInfo
from components.tasks import get_task

TEXTS = [
    "Return the shortest path of a graph.",
    "Solve an equation for x.",
    "明天的会议改到下午。",
    "Draw a curve.",
    "x",
]


def rows(texts):
    return pd.DataFrame({"id": [str(i) for i in range(len(texts))], "text": texts, "label": "a"})


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS * 3, 300)


def models(tokenizer):
    torch.manual_seed(0)
    small = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = transformers.BertConfig(intermediate_size=16, **small)
    encoder_decoder = transformer.TransformerConfig(
        vocab_size=len(tokenizer), d_model=16, num_heads=2, num_layers=1, feedforward_size=16
    )
    gru = recurrent.RecurrentConfig(cell="gru", vocab_size=len(tokenizer), hidden_size=16, num_labels=2)
    return {
        "encoder": transformers.BertForSequenceClassification(bert),
        "causal": transformers.LlamaForCausalLM(transformers.LlamaConfig(intermediate_size=16, **small)),
        "encoder-decoder": transformer.TransformerForConditionalGeneration(encoder_decoder),
        "recurrent": recurrent.RecurrentForSequenceClassification(gru),
    }


@pytest.mark.parametrize("kind", ["encoder", "causal", "encoder-decoder", "recurrent"])
def test_a_text_that_was_taught_is_found_first_by_the_models_own_states(kind, tokenizer):
    model = models(tokenizer)[kind].eval()
    for at, text in enumerate(TEXTS):
        found, by = similar_rows.similar_rows(text, rows(TEXTS), model=model, tokenizer=tokenizer, number=3)
        assert found[0] == (at, pytest.approx(1.0, abs=1e-4))
        assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
        assert by == "mean hidden states of 5 rows"
        again = similar_rows.similar_rows(text, rows(TEXTS), model=model, tokenizer=tokenizer, number=3)
        assert again == (found, by)


def test_where_a_model_has_no_states_of_its_own_words_decide_chinese_ones_too(tokenizer):
    ensemble = voting.voting([models(tokenizer)["encoder"]])
    found, by = similar_rows.similar_rows("下午的会议", rows(TEXTS), model=ensemble, tokenizer=tokenizer, number=2)
    assert found[0][0] == 2
    assert found[0][1] > 0.3 > found[1][1]
    assert by == "TF-IDF over 5 rows"


def test_of_more_rows_than_may_be_embedded_the_nearest_by_words_are(tokenizer, monkeypatch):
    model = models(tokenizer)["encoder"].eval()
    many = [f"row {i} about nothing in particular" for i in range(200)] + TEXTS
    asked = []
    real = similar_rows._embedded
    monkeypatch.setattr(similar_rows, "_embedded", lambda m, t, texts: asked.append(len(texts)) or real(m, t, texts))
    monkeypatch.setattr(similar_rows, "EMBED_WORK", 2.0 * 20 * 11 * sum(p.numel() for p in model.parameters()))
    found, by = similar_rows.similar_rows(TEXTS[0], rows(many), model=model, tokenizer=tokenizer)
    assert found[0][0] == 200
    assert asked[0] < 40
    assert f"the {asked[0] - 1} of 205 rows nearest by TF-IDF" in by


@pytest.mark.parametrize("text", ["", "!!!", "x" * 50_000])
def test_texts_without_words_and_huge_ones_have_neighbours_or_none(text, tokenizer):
    model = models(tokenizer)["encoder"].eval()
    tokenizer.model_max_length = 64
    found, by = similar_rows.similar_rows(text, rows(TEXTS), model=model, tokenizer=tokenizer)
    assert len(found) == (5 if text else 0)
    assert by


def test_rows_are_those_of_the_version_it_was_trained_on(tokenizer, tmp_path, monkeypatch):
    model = models(tokenizer)["encoder"].eval()
    folder = tmp_path / "t"
    folder.mkdir()
    frame = rows(TEXTS).assign(source="s", licence="l", group="g", origin="file", imputed="")
    frame.to_parquet(folder / "train.parquet")
    info = {"task": "classification", "labels": ["a"], "columns": list(frame), "licences": {"s": "l"}}
    (folder / "table.json").write_text(json.dumps(info))
    asked = []
    monkeypatch.setattr(versioning, "manifest", lambda v, settings: asked.append(v) or SimpleNamespace(ref=v))
    monkeypatch.setattr(versioning, "path_of", lambda ref, settings: tmp_path)
    recipe = {
        "kind": "finetune", "name": "t", "task": "classification", "table": "t", "base": "bert",
        "splits": {"train": 4},
        "adaptation": "full", "max_length_tokens": 32,
        "num_epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "seed": 1,
    }  # fmt: skip
    ref = ModelRef(name="banyan-t", version=1, run_id="r", weights_sha256="w")
    tags = {explained.RECIPE_TAG: json.dumps(recipe)}
    version = VersionInfo(ref, 0.0, (), "classification", "", "d" * 32, "", {}, tags, "")
    found, by = explained._similar(TEXTS[0], version, get_task("classification"), model, tokenizer, None)
    assert by == "mean hidden states of 4 rows"  # of five: the recipe drew four
    assert asked == ["d" * 32]
    assert {one.target for one in found} == {"a"}
    assert all(one.text in TEXTS for one in found)
