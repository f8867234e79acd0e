import pandas as pd
import pytest
import torch

from components.data import tables
from components.errors import DataError, InputFileError
from components.evaluation.evaluate import evaluate, evaluate_baseline
from components.models.tokenizer import train_bpe
from components.recipes import Finetune

WORDS = {"graphs": "shortest path", "waves": "brain signal"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for split, numbers in (("train", range(10)), ("test", range(10, 18))):
        labels = [sorted(WORDS)[i % 2] for i in numbers]
        rows = pd.DataFrame(
            {"text": [f"{WORDS[label]} {i}" for label, i in zip(labels, numbers, strict=True)], "label": labels}
        ).assign(source="t", licence="t", group="t", origin="file", imputed="")
        rows["id"] = rows["text"].map(tables.content_id)
        tables.write_split(folder, "topics", split, rows, task="classification")
    tables.write_table_info(folder, "topics", task="classification", labels=list(WORDS), licences={"t": "t"})
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_bpe(WORDS.values(), 300)
    tokenizer.model_max_length = 16
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(sorted(WORDS))),
        label2id={name: i for i, name in enumerate(sorted(WORDS))},
        num_labels=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe():
    return Finetune(name="t", task="classification", table="topics", base="minilm", num_steps=1, learning_rate=1)


def test_every_test_row_is_scored_and_a_second_time_the_same(data, model_dir):
    ask = {"task": "classification", "data_dir": data, "table": "topics"}
    first = evaluate(model_dir, **ask)
    assert first["id"].tolist() == tables.read_split(data, "topics", "test")["id"].tolist()
    pd.testing.assert_frame_equal(first, evaluate(model_dir, **ask))


def test_fewer_rows_are_the_first_by_id_for_model_and_baseline_alike(data, model_dir, recipe):
    few = evaluate(model_dir, task="classification", data_dir=data, table="topics", max_rows=3)
    assert few["id"].tolist() == sorted(tables.read_split(data, "topics", "test")["id"])[:3]
    plain = evaluate_baseline(recipe.model_copy(update={"max_test_rows": 3}), data_dir=data)
    assert plain["id"].tolist() == few["id"].tolist()


def test_the_baseline_learns_from_the_recipes_rows(data, recipe):
    assert evaluate_baseline(recipe, data_dir=data)["score"].mean() == 1.0


def test_an_empty_split_cannot_be_measured(data, model_dir):
    with pytest.raises(DataError, match="split reserve of table 'topics' is empty"):
        evaluate(model_dir, task="classification", data_dir=data, table="topics", split="reserve")


def test_a_folder_without_a_model_is_named(data, tmp_path):
    with pytest.raises(InputFileError, match="holds no model"):
        evaluate(tmp_path, task="classification", data_dir=data, table="topics")
