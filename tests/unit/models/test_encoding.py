import random
import unicodedata

import numpy as np
import pytest
import tokenizers

from components.models import encoding
from components.models.encoding import Encoder, has_gpt2_words
from components.models.tokenizer import is_byte_level, train_bpe, train_wordpiece

LETTERS = [*"ab'stdmlverASD 019 \n\n\t  .,!<|>’é中ß½١\u00a0\u3000\u2028\x1c\x85"]
PIECES = [*LETTERS, "\u0301", "😀", "'s", "'ll", "'ve", "'re", " '", "<|endoftext|>", "<|mask|>", "  ", "\r\n"]
TEXTS = ["def f(x):\n    return x's + y\n\n\n# they'll don't  ", "中文和English混排，１２３ 456", "", " ", "a" * 300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_bpe([text * 3 for text in TEXTS] + ["the cat sat on the mat, don't they?"] * 5, 400).save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(folder):
    return Encoder(folder / "tokenizer.json")


def found(encoder, texts):
    encoded = encoder.encode(texts)
    assert encoded.starts[-1] == len(encoded.ids)
    return [encoded.ids[low:high].tolist() for low, high in zip(encoded.starts[:-1], encoded.starts[1:], strict=True)]


def expected(folder, texts):
    core = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    core.encode_special_tokens = True
    return [one.ids for one in core.encode_batch(texts, add_special_tokens=False)]


def test_it_encodes_as_the_tokenizer_does(encoder, folder):
    draw = random.Random(0)
    texts = TEXTS + ["".join(draw.choices(PIECES, k=draw.randrange(40))) for _ in range(1500)]
    assert encoder.is_by_words
    assert found(encoder, texts) == expected(folder, texts)
    assert found(encoder, texts[::-1]) == expected(folder, texts[::-1])  # out of the table, now that it is filled


def test_every_code_point_is_of_the_kind_that_the_tokenizer_takes_it_for(encoder, folder):
    draw = random.Random(0)
    points = draw.sample([p for p in range(0x110000) if unicodedata.category(chr(p)) != "Cs"], 3_000)
    texts = [f"a{chr(p)}1{chr(p)}.{chr(p)} {chr(p)}" for p in [*points, *range(0x500)]]
    assert found(encoder, texts) == expected(folder, texts)


def test_long_texts_are_cut_where_it_changes_nothing(encoder, folder, monkeypatch):
    monkeypatch.setattr(encoding, "CHARACTERS_AT_ONCE", 50)
    draw = random.Random(1)
    texts = ["".join(draw.choices(PIECES, k=600)), "x" * 400, "\n" * 300 + "y", *TEXTS]
    assert found(encoder, texts) == expected(folder, texts)


def test_a_full_table_of_words_begins_anew(encoder, folder, monkeypatch):
    monkeypatch.setattr(encoding, "MAX_WORDS", 30)
    texts = [f" word{number} and{number}" for number in range(200)]
    assert [found(encoder, [text])[0] for text in texts] == expected(folder, texts)
    assert encoder._table.num_words < 100


def test_a_spelled_special_token_is_text(encoder):
    end = encoder.core.token_to_id("<|endoftext|>")
    [ids] = found(encoder, ["before<|endoftext|>after <|endoftext|>"])
    assert end not in ids
    assert encoder.core.decode(ids) == "before<|endoftext|>after <|endoftext|>"


def test_hashes_of_different_words_differ_also_where_the_polynomial_does_not(encoder):
    """Thue and Morse's word and its complement have the same polynomial modulo 2^64, whatever the base."""
    word = "".join("ab"[number.bit_count() % 2] for number in range(2048))
    other = word.translate(str.maketrans("ab", "ba"))
    joined = word + " " + other
    points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    first, ends = np.array([0, 2049]), np.array([2048, 4097])
    one, two = encoder._table._hashes(joined, points, first, ends)
    assert one != two


def test_a_tokenizer_of_another_kind_goes_its_own_way(tmp_path):
    train_wordpiece(["the cat sat on the mat"] * 3, 60).save_pretrained(tmp_path)
    encoder = Encoder(tmp_path / "tokenizer.json")
    assert not encoder.is_by_words
    texts = ["the cat sat", "", "mat zebra"]
    assert found(encoder, texts) == expected(tmp_path, texts)


@pytest.mark.parametrize(
    "changed",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {"model": {"type": "BPE", "dropout": 0.1}},
        {"added_tokens": [{"content": "x", "special": False}]},
    ],
)
def test_what_looks_across_words_or_changes_them_is_not_taken_for_gpt2s(changed):
    plain = {
        "model": {"type": "BPE", "dropout": None},
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "added_tokens": [{"content": "<|endoftext|>", "special": True}],
    }
    assert has_gpt2_words(plain)
    assert not has_gpt2_words(plain | changed)


@pytest.mark.parametrize("train", [train_bpe, train_wordpiece])
def test_a_tokenizer_is_the_same_for_any_order_and_number_of_threads(train, monkeypatch):
    draw = random.Random(2)
    words = ["".join(draw.choices("abcdefgh", k=draw.randrange(1, 9))) for _ in range(400)]
    texts = [" ".join(draw.choices(words, k=30)) for _ in range(300)]
    made = []
    for order, threads in ((texts, "false"), (texts[::-1], "true")):
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", threads)
        made.append(train(order, 600).backend_tokenizer.to_str())
    assert made[0] == made[1]


def test_wordpiece_has_no_bytes_to_count(tmp_path):
    assert is_byte_level(train_bpe(["a b c"], 300))
    assert not is_byte_level(train_wordpiece(["a b c"], 300))
