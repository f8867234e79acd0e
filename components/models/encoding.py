"""Many texts to token ids at once, equal to what the tokenizer itself gives, several times as fast.

A byte-level BPE with GPT-2's pattern sees a text as words, and encodes each by itself. So each distinct word is
encoded once, by the tokenizer, and looked up ever after: words are found, hashed and looked up as arrays. Texts and
tokenizers of which this is not sure go the tokenizer's own way.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Scalar = TypeVar("Scalar", np.uint32, np.int64)

CHARACTERS_AT_ONCE = 1 << 18
"""The arrays that are made of so many stay in a core's cache."""
LONG_WORD = 64
"""Longer words are hashed by BLAKE2: the polynomial has known collisions from some hundred characters on."""
MAX_WORDS = 1 << 20
MAX_IDS = 1 << 23
"""Of the table of words: beyond, it begins anew."""
SPACE, LETTER, NUMBER, OTHER, UNSURE = range(5)
_WHITE_SPACE = (
    *range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000
)  # fmt: skip
"""Unicode's property of this name, which `\\s` of the tokenizer is; Python's `isspace` has four more."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Encoded(NamedTuple):
    """Token ids of every text, one after the other: text i has `ids[starts[i]:starts[i + 1]]`."""

    ids: Ids
    """(S,)"""
    starts: Places
    """(N + 1,)"""


class Encoder:
    """Encodes without special tokens. A text that spells one, `<|endoftext|>`, is text, and becomes its letters."""

    def __init__(self, tokenizer_json: Path) -> None:
        """From a `tokenizers` file."""
        import tokenizers

        self.core: Tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_json))
        self.core.encode_special_tokens = True
        self.core.no_truncation()
        self.core.no_padding()
        self.is_by_words = has_gpt2_words(json.loads(self.core.to_str()))
        self._table = _WordTable(self.core)

    @property
    def vocab_size(self) -> int:
        """Ids are smaller than this."""
        return self.core.get_vocab_size(with_added_tokens=True)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of every text."""
        if not self.is_by_words:
            return self._encode_plainly(texts)
        flats: list[Ids] = [np.zeros(0, np.uint32)]
        sizes = np.zeros(len(texts), np.int64)
        for stretch in _stretches(texts):
            ids, counts = self._encode_stretch(stretch)
            flats.append(ids)
            np.add.at(sizes, [piece.text for piece in stretch], counts)
        return Encoded(np.concatenate(flats), _starts(sizes))

    def _encode_plainly(self, texts: Sequence[str]) -> Encoded:
        found = [one.ids for one in self.core.encode_batch_fast(list(texts), add_special_tokens=False)]
        flat = np.array([number for ids in found for number in ids], np.uint32)
        return Encoded(flat, _starts(np.array([len(ids) for ids in found], np.int64)))

    def _encode_stretch(self, stretch: "list[_Piece]") -> tuple[Ids, Places]:
        """The ids of all pieces, and how many each has."""
        joined = "".join(piece.chars for piece in stretch)
        begins = _starts(np.array([len(piece.chars) for piece in stretch], np.int64))
        points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = _kinds()[points]
        if (kinds == UNSURE).any():
            ids, starts = self._encode_plainly([piece.chars for piece in stretch])
            return ids, np.diff(starts)
        first = np.flatnonzero(word_starts(points, kinds, begins))
        ends = np.append(first[1:], len(points))
        words = self._table.look_up(joined, points, first, ends)
        ids, counts = self._table.ids_of(words)
        owner = np.searchsorted(first, begins)  # each piece begins with a word
        return ids, np.diff(_starts(counts)[owner])


def has_gpt2_words(tokenizer: dict[str, object]) -> bool:
    """Whether a `tokenizers` file is of BPE over bytes with GPT-2's pattern, and nothing looks across words."""
    model, before = tokenizer.get("model"), tokenizer.get("pre_tokenizer")
    added = tokenizer.get("added_tokens")
    if not isinstance(model, dict) or not isinstance(before, dict) or not isinstance(added, list):
        return False
    return (
        model.get("type") == "BPE"
        and not model.get("dropout")
        and tokenizer.get("normalizer") is None
        and before.get("type") == "ByteLevel"
        and before.get("add_prefix_space") is False
        and before.get("use_regex", True) is True
        and all(token.get("special") for token in added)
    )


def word_starts(points: Ids, kinds: npt.NDArray[np.uint8], begins: Places) -> npt.NDArray[np.bool_]:
    """(C,) where a word of GPT-2's pattern begins, in texts that follow each other and begin at `begins[:-1]`.

    `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`: runs of one kind; the last
    white space of several goes by itself, or to the word behind where it is a space; English endings by themselves.
    """
    edge = np.zeros(len(points) + 1, bool)
    edge[begins] = True
    edge = edge[:-1]
    starts = edge.copy()
    starts[1:] |= kinds[1:] != kinds[:-1]
    behind = np.flatnonzero((kinds[1:] != SPACE) & (kinds[:-1] == SPACE) & ~edge[1:]) + 1
    starts[behind - 1] = True
    starts[behind[points[behind - 1] == 32]] = False
    quotes = np.flatnonzero((points[:-1] == 39) & starts[:-1] & (kinds[1:] == LETTER) & ~edge[1:])
    if len(quotes):
        one = points[quotes + 1]
        last = len(points)
        after = np.minimum(quotes + 2, last - 1)
        two = np.where((quotes + 2 < last) & ~edge[after], points[after], 0)
        short = (one == 115) | (one == 116) | (one == 109) | (one == 100)  # s t m d
        long = ((one == 108) & (two == 108)) | ((one == 118) & (two == 101)) | ((one == 114) & (two == 101))  # ll ve re
        starts[quotes[short | long] + 1] = False
        for found, length in ((quotes[short], 2), (quotes[long], 3)):
            end = found + length
            starts[end[end < last]] = True
    return starts


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """For each code point what it is to the pattern; UNSURE where this Python's Unicode does not know it yet."""
    by_category = {"L": LETTER, "N": NUMBER}
    found = np.empty(0x110000, np.uint8)
    for point in range(0x110000):
        category = unicodedata.category(chr(point))
        found[point] = UNSURE if category in {"Cn", "Cs"} else by_category.get(category[0], OTHER)
    found[list(_WHITE_SPACE)] = SPACE
    return found


class _Piece(NamedTuple):
    text: int
    chars: str


def _stretches(texts: Sequence[str]) -> Iterator[list[_Piece]]:
    """Texts put together to about `CHARACTERS_AT_ONCE`, long ones cut where a word ends whatever follows."""
    waiting: list[_Piece] = []
    length = 0
    for number, text in enumerate(texts):
        for chars in [text] if len(text) <= 2 * CHARACTERS_AT_ONCE else _cut(text):
            if chars:
                waiting.append(_Piece(number, chars))
                length += len(chars)
            if length >= CHARACTERS_AT_ONCE:
                yield waiting
                waiting, length = [], 0
    if waiting:
        yield waiting


def _cut(text: str) -> Iterator[str]:
    """A long text in pieces: behind what is no white space and no quote, before what is of another kind."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[points]
    places = np.flatnonzero((kinds[1:] != kinds[:-1]) & (kinds[:-1] != SPACE) & (points[:-1] != 39)) + 1
    wanted = np.arange(CHARACTERS_AT_ONCE, len(text), CHARACTERS_AT_ONCE)
    at = np.searchsorted(places, wanted)
    cuts = np.unique(places[at[at < len(places)]]).tolist()
    yield from (text[low:high] for low, high in pairwise([0, *cuts, len(text)]))


def _starts(sizes: Places) -> Places:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


class _WordTable:
    """Words by their 64-bit hashes, in open addressing; each with its place among all ids that were ever given."""

    def __init__(self, core: "Tokenizer") -> None:
        self.core = core
        self.mix = _mixed_points()
        self.powers = np.cumprod(np.full(4 * CHARACTERS_AT_ONCE, _FACTOR, np.uint64), dtype=np.uint64)
        inverse = np.uint64(pow(int(_FACTOR), -1, 1 << 64))
        self.inverses = np.cumprod(np.full(len(self.powers), inverse, np.uint64), dtype=np.uint64)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.keys = np.zeros(1 << 16, np.uint64)
        self.words = np.zeros(1 << 16, np.int64)
        self.num_words = self.num_ids = 0
        self.ids = np.zeros(1 << 16, np.uint32)
        self.begins = np.zeros(1 << 15, np.int64)
        self.counts = np.zeros(1 << 15, np.int64)

    def look_up(self, joined: str, points: Ids, first: Places, ends: Places) -> Places:
        """(W,) the numbers of the words `joined[first[i]:ends[i]]`."""
        if self.num_words > MAX_WORDS or self.num_ids > MAX_IDS:
            self._begin_anew()
        hashes = self._hashes(joined, points, first, ends)
        words = self._find(hashes)
        new = np.flatnonzero(words < 0)
        if len(new):
            distinct, at = np.unique(hashes[new], return_index=True)
            chosen = new[at]
            self._add(
                distinct,
                [joined[low:high] for low, high in zip(first[chosen].tolist(), ends[chosen].tolist(), strict=True)],
            )
            words[new] = self._find(hashes[new])
        return words

    def ids_of(self, words: Places) -> tuple[Ids, Places]:
        """The words' ids, one after the other, and how many each has."""
        counts = self.counts[words]
        starts = _starts(counts)
        at = np.repeat(self.begins[words] - starts[:-1], counts) + np.arange(starts[-1])
        return self.ids[at], counts

    def _hashes(self, joined: str, points: Ids, first: Places, ends: Places) -> Hashes:
        """(W,) never 0. A difference of prefix sums, divided by the power that the word's place has put into it."""
        if len(points) >= len(self.powers):  # a run of one kind that could not be cut
            return np.array([_blake(joined[low:high]) for low, high in zip(first, ends, strict=True)], np.uint64)
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(self.mix[points] * self.powers[: len(points)], out=sums[1:])
        found = (sums[ends] - sums[first]) * self.inverses[first]
        found ^= found >> np.uint64(29)
        found = (found + (ends - first).astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
        found ^= found >> np.uint64(32)
        for number in np.flatnonzero(ends - first > LONG_WORD).tolist():
            found[number] = _blake(joined[first[number] : ends[number]])
        return np.maximum(found, np.uint64(1))

    def _find(self, hashes: Hashes) -> Places:
        """(W,) the words' numbers; −1 where a word is not there."""
        mask = np.uint64(len(self.keys) - 1)
        slot = hashes & mask
        held = self.keys[slot]
        found = np.where(held == hashes, self.words[slot], -1)
        waiting = np.flatnonzero((held != hashes) & (held != 0))
        while len(waiting):
            slot[waiting] = (slot[waiting] + np.uint64(1)) & mask
            held = self.keys[slot[waiting]]
            hit = held == hashes[waiting]
            found[waiting[hit]] = self.words[slot[waiting[hit]]]
            waiting = waiting[~hit & (held != 0)]
        return found

    def _add(self, hashes: Hashes, words: list[str]) -> None:
        tokenize, letters = self.core.model.tokenize, _byte_letters()  # 2.7 µs a word; all of `encode` takes 7
        encoded = [
            [token.id for token in tokenize(word.encode().decode("latin-1").translate(letters))] for word in words
        ]
        counts = np.array([len(ids) for ids in encoded], np.int64)
        flat = np.array([number for ids in encoded for number in ids], np.uint32)
        numbers = np.arange(self.num_words, self.num_words + len(words))
        self.begins = _grown(self.begins, self.num_words + len(words))
        self.counts = _grown(self.counts, self.num_words + len(words))
        self.ids = _grown(self.ids, self.num_ids + len(flat))
        self.begins[numbers] = self.num_ids + _starts(counts)[:-1]
        self.counts[numbers] = counts
        self.ids[self.num_ids : self.num_ids + len(flat)] = flat
        self.num_words += len(words)
        self.num_ids += len(flat)
        if 2 * self.num_words > len(self.keys):
            held = np.flatnonzero(self.keys)
            old_hashes, old_words = self.keys[held], self.words[held]
            size = 1 << int(4 * self.num_words).bit_length()
            self.keys, self.words = np.zeros(size, np.uint64), np.zeros(size, np.int64)
            self._put(old_hashes, old_words)
        self._put(hashes, numbers)

    def _put(self, hashes: Hashes, numbers: Places) -> None:
        mask = np.uint64(len(self.keys) - 1)
        slot = hashes & mask
        while len(hashes):
            free = self.keys[slot] == 0
            self.keys[slot[free]] = hashes[free]  # of two that want the same slot one gets it
            mine = self.keys[slot] == hashes
            self.words[slot[mine]] = numbers[mine]
            hashes, numbers, slot = hashes[~mine], numbers[~mine], (slot[~mine] + np.uint64(1)) & mask


@cache
def _mixed_points() -> Hashes:
    """For each code point a random-looking number (splitmix64's finaliser)."""
    found = np.arange(1, 0x110001, dtype=np.uint64) * _FACTOR
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


@cache
def _byte_letters() -> dict[int, int]:
    """The letter that a byte-level BPE writes for each byte: itself where it can be seen, else one from 256 on."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: byte for byte in seen} | {byte: 256 + place for place, byte in enumerate(others)}


def _blake(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()) or 1


def _grown(array: npt.NDArray[Scalar], size: int) -> npt.NDArray[Scalar]:
    if size <= len(array):
        return array
    found = np.zeros(1 << int(size).bit_length(), array.dtype)
    found[: len(array)] = array
    return found
