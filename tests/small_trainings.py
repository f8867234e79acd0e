"""A data version of a few dozen rows and bases of a few thousand weights: real parts, trained in tenths of a second.

Fixtures that the tests of training and those of exactness import into their conftest.
"""

from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers

from components.data import tables
from components.models.tokenizer import train_bpe
from components.recipes import Finetune, Pretrain

WORDS = {"graphs": "shortest path between nodes", "waves": "filter the brain signal", "web": "answer the http request"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    yield
    torch.set_num_threads(before)


def labelled(numbers: range) -> pd.DataFrame:
    rows = []
    for i in numbers:
        label = sorted(WORDS)[i % 3]
        text = f"{WORDS[label]} number {i}"
        rows.append({"id": tables.content_id(text), "text": text, "label": label, "target": f"It does {label}."})
    return pd.DataFrame(rows).assign(source="tests", licence="Apache-2.0", group="g", origin="provenance", imputed="")


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for table, task in (("topics", "classification"), ("lines", "summarisation")):
        for split, numbers in (("train", range(24)), ("test", range(24, 36)), ("pool", range(40, 60))):
            tables.write_split(folder, table, split, labelled(numbers), task=task)
        labels = sorted(WORDS) if task == "classification" else []
        tables.write_table_info(folder, table, task=task, labels=labels, licences={"tests": "Apache-2.0"})
    text = "\n".join(f"def f{i}(x):\n    return x + {i}  # {' '.join(WORDS.values())}" for i in range(60))
    corpus = pd.DataFrame({"text": [text, text[::-1]], "source": "tests", "licence": "Apache-2.0", "group": "g"})
    corpus["id"] = corpus["text"].map(tables.content_id)
    tables.write_split(folder, "corpus", "train", corpus, task="corpus")
    tables.write_split(folder, "corpus", "heldout", corpus.head(1), task="corpus")
    tables.write_table_info(folder, "corpus", task="corpus", labels=[], licences={"tests": "Apache-2.0"})
    return folder


def write_small_bert(folder: Path) -> None:
    """A BERT of one layer with random weights, and a tokenizer for `WORDS`."""
    tokenizer = train_bpe(WORDS.values(), 300)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    write_small_bert(folder)
    return folder


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = train_bpe(WORDS.values(), 300)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def classify() -> Finetune:
    return Finetune(
        name="topics",
        task="classification",
        table="topics",
        base="minilm",
        num_steps=6,
        batch_size=4,
        max_length_tokens=24,
        learning_rate=1e-2,
        checkpoint_every_steps=2,
    )


@pytest.fixture
def write_lines() -> Finetune:
    return Finetune(
        name="lines",
        task="summarisation",
        table="lines",
        base="smollm2",
        num_steps=6,
        batch_size=4,
        max_length_tokens=64,
        max_new_tokens=8,
        learning_rate=1e-2,
        adaptation="lora",
        lora_rank=2,
        checkpoint_every_steps=2,
    )


@pytest.fixture
def read_corpus() -> Pretrain:
    return Pretrain(
        name="corpus",
        num_steps=6,
        batch_size=4,
        max_length_tokens=16,
        vocab_size=300,
        num_layers=1,
        hidden_size=32,
        num_heads=2,
        learning_rate=1e-2,
        checkpoint_every_steps=2,
        evaluate_every_steps=3,
        sample_tokens=4,
    )
