import math

import pytest
import torch

from components.data import tables
from components.errors import DataError, MappingError
from components.models.families import FAMILIES, load_language_model
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain
from components.tasks.base import IGNORED
from components.training.objectives import Rows, rows_of
from components.training.pretraining import continue_text, pretrain


def changed(recipe, **fields):
    return Pretrain(**{**recipe.model_dump(), **fields})


def of(family):
    """The fields of a tiny recipe that go with a family."""
    heads = 2 if family in {"gpt", "gpt2", "transformer", "bert", "ngram_gpt"} else None
    context = 4 if family in {"feedforward", "ngram_gpt"} else None
    return {"family": family, "num_heads": heads, "context_tokens": context}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_can_be_loaded(family, read_corpus, small_data, tmp_path):
    looks = []
    recipe = changed(read_corpus, num_steps=30, evaluate_every_steps=15, **of(family))
    done = pretrain(recipe, data_dir=small_data, run_dir=tmp_path, on_evaluate=looks.append)
    assert [look.step for look in looks] == [15, 30]
    assert looks[1].metrics["heldout_loss"] < looks[0].metrics["heldout_loss"]
    assert done.metrics["heldout_loss"] == looks[1].metrics["heldout_loss"]
    assert ("bits_per_byte" in done.metrics) == (family != "bert")
    assert done.metrics["heldout_loss_low"] < done.metrics["heldout_loss"] < done.metrics["heldout_loss_high"]
    model, tokenizer = load_language_model(done.model_dir)
    again = continue_text(model, tokenizer, recipe.sample_prompt, num_tokens=recipe.sample_tokens, seed=recipe.seed)
    assert again == done.sample


def test_bits_per_byte_are_nats_over_the_bytes_that_were_predicted(read_corpus, small_data, tmp_path):
    """A model that knows nothing says every token with 1/V."""
    recipe = changed(read_corpus, num_steps=1, learning_rate=1e-12, precision="fp32")
    done = pretrain(recipe, data_dir=small_data, run_dir=tmp_path)
    model, tokenizer = load_language_model(done.model_dir)
    [text] = tables.read_split(small_data, "corpus", "heldout")["text"]
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    num_rows = (len(ids) - 1) // recipe.max_length_tokens
    nats, size = 0.0, 0
    for row in range(num_rows):
        part = torch.tensor(ids[row * recipe.max_length_tokens :][: recipe.max_length_tokens + 1])
        with torch.no_grad():
            logits = model(input_ids=part[None, :-1]).logits[0].float()
        nats += torch.nn.functional.cross_entropy(logits, part[1:], reduction="sum").item()
        size += sum(len(tokenizer.decode([i]).encode()) for i in part[1:].tolist() if i != tokenizer.eos_token_id)
    assert num_rows < 256
    assert done.metrics["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_rows_share_one_token_so_that_every_token_is_predicted_once():
    tokenizer = train_bpe(["abcdefgh"], 258)
    rows = rows_of(["abcde", "fgh"], tokenizer, 3)
    stream = [*tokenizer.encode("abcde"), tokenizer.eos_token_id, *tokenizer.encode("fgh"), tokenizer.eos_token_id]
    assert rows.tolist() == [stream[0:4], stream[3:7], stream[6:10]]
    assert rows_of(["a"], tokenizer, 3).shape == (0, 4)


def test_masked_rows_hide_a_sixth_the_same_way_for_the_same_step(read_corpus):
    tokenizer = train_bpe(["abcdefgh"], 258)
    rows = Rows(torch.full((200, 17), 70), tokenizer, changed(read_corpus, family="bert", batch_size=200))
    [one], [same], [other] = (rows.batches(list(range(200)), "mask", step) for step in (1, 1, 2))
    assert torch.equal(one["input_ids"], same["input_ids"])
    assert not torch.equal(one["labels"], other["labels"])
    hidden = one["labels"] != IGNORED
    assert hidden.float().mean().item() == pytest.approx(0.15, abs=0.03)
    assert hidden.any(1).all()
    masked = (one["input_ids"] == tokenizer.mask_token_id)[hidden]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.06)
    assert torch.equal(one["input_ids"][~hidden], rows.tokens[:, :-1][~hidden])


EFFECTS = {
    "num_layers": 2,
    "num_heads": 1,
    "hidden_size": 16,
    "vocab_size": 310,
    "dropout": 0.5,
    "family": "gru",
    "max_length_tokens": 8,
    "seed": 3,
    "num_kv_heads": 1,
    "document_masks": True,
    "max_train_rows": 5,
    "label_smoothing": 0.2,
}


@pytest.mark.parametrize("field", EFFECTS)
def test_every_field_of_pretraining_has_its_effect(field, read_corpus, small_data, tmp_path):
    more = of("gru") if field == "family" else {}
    longer = {"max_length_tokens": 512} if field == "document_masks" else {}  # rows with the end of a document in them
    plain = changed(read_corpus, **longer)
    hashes = {
        pretrain(recipe, data_dir=small_data, run_dir=tmp_path / str(i)).weights_sha256
        for i, recipe in enumerate([plain, changed(plain, **({field: EFFECTS[field]} | more))])
    }
    assert len(hashes) == 2


def test_the_sample_begins_with_its_prompt_and_is_as_long_as_asked(read_corpus, small_data, tmp_path):
    recipe = changed(read_corpus, sample_prompt="return", sample_tokens=2)
    sample = pretrain(recipe, data_dir=small_data, run_dir=tmp_path).sample
    assert sample.startswith("return")
    assert len(sample) > len("return")


def test_called_again_when_done_it_returns_what_is_there(read_corpus, small_data, tmp_path):
    first = pretrain(read_corpus, data_dir=small_data, run_dir=tmp_path)
    again = pretrain(read_corpus, data_dir=small_data, run_dir=tmp_path, on_step=lambda p: pytest.fail("trained"))
    assert (again.weights_sha256, again.sample) == (first.weights_sha256, first.sample)


def test_a_table_that_is_no_corpus_and_a_corpus_that_is_too_short_are_named(read_corpus, small_data, tmp_path):
    with pytest.raises(MappingError, match="is of task classification, not a corpus"):
        pretrain(changed(read_corpus, table="topics"), data_dir=small_data, run_dir=tmp_path)
    with pytest.raises(DataError, match="shorter than 100001 tokens"):
        pretrain(changed(read_corpus, max_length_tokens=100_000), data_dir=small_data, run_dir=tmp_path)


def test_a_model_of_characters_reads_and_writes_them(read_corpus, small_data, tmp_path):
    recipe = changed(read_corpus, num_steps=20, tokenizer="characters", **of("ngram_gpt"))
    done = pretrain(recipe, data_dir=small_data, run_dir=tmp_path)
    model, tokenizer = load_language_model(done.model_dir)
    [text] = tables.read_split(small_data, "corpus", "heldout")["text"]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer) == len(set(text)) + 2 == model.config.vocab_size
    # one byte a character here: nats and bits differ by the logarithm alone
    assert done.metrics["bits_per_byte"] == pytest.approx(done.metrics["heldout_loss"] / math.log(2), rel=1e-3)
    assert done.sample.startswith(recipe.sample_prompt)
    assert len(done.sample) > len(recipe.sample_prompt)
