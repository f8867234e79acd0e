"""Sets of labels: what they may look like, how they are learned, said and measured, and what functions give."""

import ast
import json

import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, hamming_loss

from components.errors import MappingError
from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks.base import Answer
from components.tasks.multilabel import TASK, parsed

LABELS = ("loops", "raises", "returns")
RECIPE = Finetune(name="r", task="multilabel", table="t", base="none", num_steps=1, learning_rate=1e-3)


def model_of(logits: list[float], **config):
    """One that says the same of every text."""
    from types import SimpleNamespace

    def call(input_ids, attention_mask):
        return SimpleNamespace(logits=torch.tensor([logits] * len(input_ids)))

    about = SimpleNamespace(id2label=dict(enumerate(LABELS)), **config)
    call.config, call.device = about, torch.device("cpu")
    call.eval = lambda: call
    return call


@pytest.fixture(scope="module")
def tokenizer():
    made = train_bpe(["return the path or raise an error"] * 3, 300)
    made.model_max_length = 16
    return made


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('["b", "a", "b"]', '["a", "b"]'),
        ("b; a", '["a", "b"]'),
        ("a|b,c", '["a", "b", "c"]'),
        ("only one", '["only one"]'),
        ("[]", "[]"),
        ("3", '["3"]'),
        ("标签, метка", '["метка", "标签"]'),
    ],
)
def test_a_set_of_labels_is_read_however_it_is_written(given, kept):
    assert TASK.fit("a text", given) == kept
    assert TASK.fit("a text", kept) == kept


@pytest.mark.parametrize("given", ['{"a": 1}', "[1]", '[""]', '["a, b"]'])
def test_what_is_no_set_of_labels_is_refused(given):
    with pytest.raises(ValueError, match="label"):
        TASK.fit("a text", given)


def test_a_label_that_the_table_does_not_have_is_named(tokenizer):
    rows = pd.DataFrame({"id": ["1"], "text": ["a"], "labels": ['["yields"]']})
    with pytest.raises(MappingError, match=r"\['yields'\]"):
        TASK.rows(rows, tokenizer, RECIPE, LABELS)


def test_the_loss_is_of_every_label_by_itself(tokenizer):
    rows = pd.DataFrame({"id": ["1", "2"], "text": ["return", "raise"], "labels": ['["returns"]', "[]"]})
    batch = TASK.collate(TASK.rows(rows, tokenizer, RECIPE, LABELS), 0)
    assert batch["labels"].tolist() == [[0, 0, 1], [0, 0, 0]]
    summed, count = TASK.loss(model_of([0.0, 0.0, 0.0]), batch)
    assert count == 6
    assert float(summed) == pytest.approx(6 * 0.6931, rel=1e-3)


def test_every_label_above_its_threshold_is_said(tokenizer):
    [answer] = TASK.answer(model_of([2.0, -2.0, 0.1]), tokenizer, ["return the path"])
    assert answer.output == '["loops", "returns"]'
    assert answer.alternatives[0] == ("loops", pytest.approx(0.8808, rel=1e-3))
    assert answer.confidence == pytest.approx(0.8808 * 0.8808 * 0.52498, rel=1e-3)
    [answer] = TASK.answer(model_of([2.0, -2.0, 0.1], thresholds={"returns": 0.6}), tokenizer, ["return the path"])
    assert answer.output == '["loops"]'
    [answer] = TASK.answer(model_of([-2.0, -2.0, -2.0]), tokenizer, [""])
    assert answer.output == "[]"


def test_thresholds_are_chosen_on_held_out_rows(tokenizer):
    held_out = pd.DataFrame({"text": ["a", "b"], "labels": ['["returns"]', '["returns", "loops"]']})
    model = model_of([2.0, -2.0, -1.0])  # returns is always right, and never sure
    TASK.settle(model, tokenizer, held_out)
    assert model.config.thresholds["returns"] == 0.25
    assert model.config.thresholds["loops"] == 0.5
    assert "raises" not in model.config.thresholds


def test_figures_are_those_of_scikit_learn():
    true = [["loops"], ["raises", "returns"], [], ["returns"]]
    said = [["loops", "returns"], ["returns"], [], ["raises"]]
    rows = pd.DataFrame({"id": list("abcd"), "labels": [json.dumps(one) for one in true]})
    answers = [Answer(json.dumps(one), 0.5, tuple((label, 0.5) for label in LABELS)) for one in said]
    scored = TASK.score(answers, rows)
    matrices = [[[int(label in one) for label in LABELS] for one in some] for some in (true, said)]
    found = TASK.figures(scored)
    assert found["micro_f1"] == pytest.approx(f1_score(*matrices, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(*matrices, average="macro"))
    assert found["hamming_loss"] == pytest.approx(hamming_loss(*matrices))
    assert found["exact_match"] == 0.25
    assert scored["score"].tolist() == [pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0, 0.0]


def test_what_functions_do_is_told_by_their_own_bodies():
    code = ast.parse('''
def one(xs):
    """Return the first one that is there at all."""
    for x in xs:
        if x:
            return x
    raise ValueError


def two(xs):
    """Make another function that gives all of them back."""

    def inner():
        yield from xs

    inner()
    return
''')
    assert list(TASK.gold(code)) == [
        ("Return the first one that is there at all.", '["branches", "loops", "raises", "returns"]'),
        ("Make another function that gives all of them back.", "[]"),
    ]
    assert parsed("no json") == frozenset()
