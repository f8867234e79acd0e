"""A tokenizer of one's own: byte-level byte-pair encoding, so that no text is outside its vocabulary."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

END, MASK = "<|endoftext|>", "<|mask|>"
"""End of a document, which also pads; and what a masked model fills in."""

UNKNOWN = "[UNK]"
"""Of WordPiece, which has no bytes to fall back on."""
ALPHABET = 1000
"""Of WordPiece, as BERT's had it."""


def train_bpe(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerFast":
    """Train a tokenizer of `vocab_size` entries (fewer when the texts have no more pairs to merge).

    Byte-level BPE with GPT-2's word pattern (Sennrich et al. 2016, arXiv 1508.07909; Radford et al. 2019): the same
    texts give the same tokenizer. A text that spells a special token is text: it is split into bytes like any other,
    and cannot end a document.
    """
    import tokenizers

    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, MASK],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return with_special_tokens(core)


def with_special_tokens(core: "tokenizers.Tokenizer") -> "PreTrainedTokenizerFast":
    """As transformers takes it, with `END` and `MASK`; a text that spells one of them stays text."""
    import transformers

    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerFast":
    """Train a WordPiece tokenizer of `vocab_size` entries (Schuster and Nakajima 2012; Devlin et al. 2018).

    Words are BERT's, case is kept, and a character that is not among the `ALPHABET` commonest becomes `[UNK]`: other
    than bytes, it cannot write everything. The same texts give the same tokenizer, in any order and with any number of
    threads: left alone, the trainer numbers `##a`, `##b` … as they come out of a hash table, another way each time, and
    with them decides between pairs that are as frequent.
    """
    import tokenizers
    import transformers

    texts = list(texts)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    common = sorted((one for one in counts if not one.isspace()), key=lambda one: (-counts[one], one))[:ALPHABET]
    alphabet = sorted(common)
    special = [END, MASK, UNKNOWN]
    core = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token=UNKNOWN))
    core.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=False)
    core.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*special, *alphabet, *(f"##{one}" for one in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    vocab = json.loads(core.to_str())["model"]["vocab"]
    core = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocab, unk_token=UNKNOWN))  # where letters are not special
    core.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=False)
    core.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    core.decoder = tokenizers.decoders.WordPiece()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        unk_token=UNKNOWN,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def is_byte_level(tokenizer: "PreTrainedTokenizerFast") -> bool:
    """Whether its tokens are bytes of the text, all of it, so that `token_bytes` counts them."""
    import tokenizers

    return isinstance(tokenizer.backend_tokenizer.decoder, tokenizers.decoders.ByteLevel)


def token_bytes(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """Token id → how many bytes of text it stands for; special tokens stand for none.

    The byte-level alphabet writes each byte as one character.
    """
    special = set(tokenizer.all_special_ids)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return [0 if i in special else len(name) for i, name in enumerate(names)]
