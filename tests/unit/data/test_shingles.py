import random

from components.data.shingles import CHARACTERS_AT_ONCE, hashed_words, words

FACTOR = 0x9E3779B97F4A7C15


def mixed(value: int) -> int:
    value ^= value >> 30
    value = value * 0xBF58476D1CE4E5B9 % 2**64
    value ^= value >> 27
    value = value * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def plain_hash(word: str) -> int:
    """The polynomial, one character after the other."""
    return mixed(sum(mixed(ord(char) + 1) * pow(FACTOR, place, 2**64) for place, char in enumerate(word, 1)) % 2**64)


def test_words_are_hashed_as_a_polynomial_of_their_characters() -> None:
    draw = random.Random(5)
    texts = ["".join(draw.choices("ab c_\n中文ａéΣß.１ İ", k=draw.randrange(60))) for _ in range(300)] + [
        "",
        "..",
        "last",
    ]
    found = hashed_words(texts)
    assert len(found) == len(texts)
    for place, text in enumerate(texts):
        mine = found.flat[found.starts[place] : found.starts[place + 1]].tolist()
        assert mine == [plain_hash(word) for word in words(text)]


def test_a_word_has_the_same_hash_wherever_it_stands_in_texts_of_any_length() -> None:
    long = "x " * (2 * CHARACTERS_AT_ONCE)
    found = hashed_words(["bridge", long + "bridge", "桥" * 5 + "bridge"])
    assert {int(found.flat[end - 1]) for end in found.starts[1:]} == {plain_hash("bridge")}
