import ast
import math

import pandas as pd
import pytest
import torch
import transformers

from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks.base import Answer
from components.tasks.generation import TASK, Continuation, Ngrams, repetition

RECIPE = Finetune(
    name="t", task="generation", table="t", base="b", num_steps=1, learning_rate=1, max_length_tokens=24,
    max_new_tokens=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    found = train_bpe(["the shortest path between two nodes"] * 3, 300)
    found.model_max_length = 24
    return found


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.5,
    )  # fmt: skip
    found = transformers.LlamaForCausalLM(config).eval()
    found.generation_config = transformers.GenerationConfig(max_new_tokens=6, eos_token_id=tokenizer.eos_token_id)
    return found


def test_bits_per_byte_are_those_of_the_model_alone_or_together(tokenizer, model):
    texts = ["the path", "between two nodes there is one", "é"]
    for text, answer in zip(texts, TASK.answer(model, tokenizer, texts), strict=True):
        [ids] = TASK.prompts([text], tokenizer)
        assert ids[0] == (tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id)
        row = torch.tensor([ids])
        nats = model(input_ids=row, labels=row).loss.item() * (len(ids) - 1)
        assert answer.bits_per_byte == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-4)


def test_all_of_a_row_but_its_start_is_learned(tokenizer):
    [row] = TASK.rows(pd.DataFrame({"text": ["the path"], "target": ["between two"]}), tokenizer, RECIPE, [])
    assert row["input_ids"] == row["labels"]
    assert tokenizer.decode(row["input_ids"][1:-1]) == "the path between two"
    assert row["input_ids"][-1] == tokenizer.eos_token_id


def test_a_long_text_loses_its_beginning(tokenizer):
    [ids] = TASK.prompts(["x " * 100 + "the nodes"], tokenizer)
    assert len(ids) == 24  # the start token is one of them
    assert tokenizer.decode(ids).endswith("the nodes")


def test_the_n_gram_model_gives_every_byte_a_probability_and_all_of_them_one():
    model = Ngrams(3)
    model.count("abracadabra")
    for before in (b"", b"abr", b"zzz", b"cad"):
        assert sum(model.probability(byte, before) for byte in range(256)) == pytest.approx(1)
    assert model.probability(ord("a"), b"abr") > 0.6
    assert model.bits_per_byte("abracadabra") < 1.5 < 8 < model.bits_per_byte("日本")
    assert model.bits_per_byte("") is None
    assert model.go_on("abrac", most=4)[0] == "adab"


def test_held_out_text_that_is_like_the_training_text_is_foreseen_better():
    train = pd.DataFrame({"text": ["the shortest path"] * 3, "target": ["between two nodes"] * 3})
    test = pd.DataFrame({"id": ["1", "2"], "text": ["the shortest nodes", "QZ#9 ~~"], "target": ["x", "y"]})
    rows = TASK.baseline(train, test, [])
    assert rows["bits_per_byte"][0] < 2 < 7 < rows["bits_per_byte"][1]
    assert rows["score"].tolist() == pytest.approx([2**-bits for bits in rows["bits_per_byte"]])


def test_repetition_and_distinct_words_are_counted():
    assert repetition("a b c d a b c d") == pytest.approx(0.2)  # 5 four-grams, the last as the first
    assert repetition("a b c") is None
    frame = pd.DataFrame({"id": ["1", "2"], "text": ["x", "y"], "target": ["t", "t"]})
    answers = [Continuation("a b a b", 1.0, bits_per_byte=2.0), Continuation("a c", 1.0, bits_per_byte=4.0)]
    figures = TASK.figures(TASK.score(answers, frame))
    assert figures["bits_per_byte"] == 3
    assert figures["distinct_1"] == pytest.approx(3 / 6)
    assert figures["distinct_2"] == pytest.approx(3 / 4)


def test_an_answer_without_bits_is_scored_by_equality():
    frame = pd.DataFrame({"id": ["1", "2"], "text": ["x", "y"], "target": ["t", "t"]})
    assert TASK.score([Answer("t", 1.0), Answer("u", 1.0)], frame)["score"].tolist() == [1, 0]


def test_gold_is_prose_cut_between_words():
    said = "A graph is a set of nodes and of edges between them, and a path is a sequence of edges that leads on."
    code = ast.parse(f'def f():\n    """{said}\n\n    >>> f() and not prose at all {"x" * 120}\n    """\n')
    [(text, target)] = TASK.gold(code)
    assert f"{text} {target}" == said
    assert len(text) >= 55
