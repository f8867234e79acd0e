import math

import pytest
import torch

from components.models.families import FAMILIES
from components.models.tokenizer import train_bpe
from components.tasks.base import IGNORED
from components.training import heldout
from components.training.objectives import Rows, objective_loss


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(["a graph is a set of nodes and edges"] * 20, 300)


def look_of(*rows):
    return heldout.Look(sum(nats for nats, _ in rows), sum(n for _, n in rows), 0, rows)


def test_the_rows_of_a_look_add_up_to_it_in_whatever_parts(read_corpus, tokenizer):
    recipe = read_corpus.model_copy(update={"batch_size": 3, "precision": "fp32"})
    tokens = torch.randint(0, len(tokenizer), (7, 17), generator=torch.Generator().manual_seed(0))
    rows, model = Rows(tokens, tokenizer, recipe), FAMILIES[recipe.family].build(recipe, len(tokenizer)).eval()
    found = heldout.look(model, rows, recipe, parts=1)
    assert (len(found.rows), found.num_targets) == (7, 7 * 16)
    assert sum(nats for nats, _ in found.rows) == pytest.approx(found.nats, rel=1e-5)
    with torch.inference_mode():
        whole = sum(objective_loss(model, batch)[0].item() for batch in rows.heldout())
    assert found.nats == whole, "the loss is that of the training"
    assert heldout.look(model, rows, recipe, parts=2).loss == pytest.approx(found.loss, rel=1e-5)


def test_an_interval_is_wider_where_rows_differ_and_holds_the_loss():
    same = heldout.interval(look_of(*[(32.0, 16)] * 20), seed=1)
    assert same == (2.0, 2.0)
    low, high = heldout.interval(look_of(*[(16.0, 16), (48.0, 16)] * 10), seed=1)
    half = 1.96 * 1.0 / math.sqrt(20)  # of a mean of twenty rows that deviate by one nat a target
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=0.1)
    assert (low, high) == heldout.interval(look_of(*[(16.0, 16), (48.0, 16)] * 10), seed=1)


def test_what_counting_comes_to_is_the_entropy_of_what_was_counted(read_corpus, tokenizer):
    """Two tokens, three to one in training and in the targets."""
    train = torch.tensor([[5, 5, 5, 7]]).repeat(2000, 4)
    rows = Rows(torch.tensor([[0] + [5, 5, 5, 7] * 4]), tokenizer, read_corpus)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert heldout.baseline(train, rows, vocab_size=len(tokenizer)) == pytest.approx(entropy, rel=0.02)
    never = Rows(torch.full((1, 17), 9), tokenizer, read_corpus)
    surprise = heldout.baseline(train, never, vocab_size=len(tokenizer))
    assert surprise == pytest.approx(math.log(2000 * 16 + len(tokenizer)), rel=1e-6), "never seen, and not impossible"


def test_only_what_is_measured_is_counted(read_corpus, tokenizer):
    recipe = read_corpus.model_copy(update={"family": "bert"})
    rows = Rows(torch.randint(10, 20, (4, 17), generator=torch.Generator().manual_seed(0)), tokenizer, recipe)
    hidden = torch.cat([batch["labels"].flatten() for batch in rows.heldout()])
    assert 0 < (hidden != IGNORED).sum() < hidden.numel()
    even = torch.arange(10, 20).repeat(500, 2)
    assert heldout.baseline(even, rows, vocab_size=len(tokenizer)) == pytest.approx(math.log(10), rel=0.1)


def test_of_yes_or_no_a_coin_is_the_baseline(read_corpus, tokenizer):
    recipe = read_corpus.model_copy(update={"family": "bert", "objective": "continuation"})
    rows = Rows(torch.ones((4, 17), dtype=torch.long), tokenizer, recipe)
    assert heldout.baseline(torch.ones((4, 17)), rows, vocab_size=20) == math.log(2)
