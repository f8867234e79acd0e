import pytest
import transformers

from components.models.tokenizer import END, token_bytes, train_bpe

TEXTS = ["def f(x):\n    return x", "naïve café — 中文 🌳", "Now is the winter of our discontent"] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 400)


@pytest.mark.parametrize("text", [*TEXTS[:3], "never seen: ∑ \x00\x1f \t\t", "", " leading and trailing "])
def test_any_text_survives_the_way_there_and_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|mask|>"])
def test_a_text_that_spells_a_special_token_stays_text(tokenizer, special, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for found in (tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path)):
        ids = found.encode(f"before {special} after")
        assert not set(ids) & set(found.all_special_ids)
        assert found.decode(ids) == f"before {special} after"


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
    assert train_bpe(iter(TEXTS), 400).get_vocab() == tokenizer.get_vocab()


def test_the_vocabulary_is_no_larger_than_asked_and_pads_with_the_end(tokenizer):
    assert len(tokenizer) <= 400
    assert tokenizer.pad_token == tokenizer.eos_token == END


def test_tokens_know_how_many_bytes_they_stand_for(tokenizer):
    sizes = token_bytes(tokenizer)
    for text in TEXTS[:3]:
        assert sum(sizes[i] for i in tokenizer.encode(text)) == len(text.encode())
    assert sizes[tokenizer.eos_token_id] == 0
