import pytest
import transformers

from components.errors import RecipeError
from components.models.characters import character_bytes, character_tokenizer

TEXTS = ["To be, or not to be:\nthat is the question.", "naïve 中文 🌳\t"]


@pytest.fixture(scope="module")
def tokenizer():
    return character_tokenizer(TEXTS, 300)


@pytest.mark.parametrize("text", [*TEXTS, " to  be ", ""])
def test_a_token_is_a_character_and_the_text_survives(tokenizer, text, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for found in (tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path)):
        assert len(found.encode(text)) == len(text)
        assert found.decode(found.encode(text)) == text


def test_the_order_of_the_texts_changes_nothing(tokenizer):
    assert character_tokenizer(TEXTS[::-1], 300).get_vocab() == tokenizer.get_vocab()


def test_what_never_occurred_is_read_as_the_mask(tokenizer):
    assert tokenizer.encode("zé") == [tokenizer.mask_token_id] * 2


def test_a_text_that_spells_the_end_does_not_end(tokenizer):
    assert tokenizer.eos_token_id not in tokenizer.encode("be <|endoftext|> not")


def test_more_characters_than_the_recipe_allows_are_refused():
    with pytest.raises(RecipeError, match="less than the 5 different characters") as caught:
        character_tokenizer(["abcde"], 6)
    assert "tokenizer: bpe" in str(caught.value)
    assert len(character_tokenizer(["abcde"], 7)) == 7


def test_characters_know_how_many_bytes_they_stand_for(tokenizer):
    sizes = character_bytes(tokenizer)
    for text in TEXTS:
        assert sum(sizes[i] for i in tokenizer.encode(text)) == len(text.encode())
    assert sizes[tokenizer.eos_token_id] == sizes[tokenizer.mask_token_id] == 0
