"""A tokenizer whose tokens are the characters of a text, for small models of small texts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from components.errors import RecipeError
from components.models.tokenizer import END, MASK, with_special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def character_tokenizer(texts: Iterable[str], most: int) -> "PreTrainedTokenizerFast":
    """One token for each character that occurs, in the order of their code points, after the two special ones.

    A character that does not occur is read as the mask: something, nobody knows what.

    Raises:
        RecipeError: there are more than `most` with the special ones.
    """
    import tokenizers

    found: set[str] = set()
    for text in texts:
        found.update(text)
    if len(found) + 2 > most:
        raise RecipeError(
            f"vocab_size {most} is less than the {len(found)} different characters of the text and the two special "
            "tokens",
            "raise vocab_size, or use tokenizer: bpe, which needs no token for each character",
        )
    vocabulary = {token: i for i, token in enumerate([END, MASK, *sorted(found)])}
    # BPE without a merge: a text falls into its characters, in one pass and without a word pattern
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[], unk_token=MASK))
    core.decoder = tokenizers.decoders.Fuse()
    return with_special_tokens(core)


def character_bytes(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """Token id → how many bytes of UTF-8 it stands for; special tokens, and so unknown characters, for none."""
    special = set(tokenizer.all_special_ids)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return [0 if i in special else len(name.encode()) for i, name in enumerate(names)]
