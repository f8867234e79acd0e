"""Texts as hashed words and word n-grams, many at a time: what near-duplicates and contamination are found by.

A ragged array is a flat array and the positions where each text begins, one more than there are texts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_WORD = re.compile(r"[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""A run of letters and digits; a Chinese or Japanese character by itself, for these are written without spaces."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
CHARACTERS_AT_ONCE = 1 << 18
"""So many fit a core's cache in the arrays that are made of them."""


@dataclass(frozen=True)
class Ragged:
    """Hashes of every text, one text after the other."""

    flat: Hashes
    """(S,)"""
    starts: npt.NDArray[np.int64]
    """(N + 1,): text i has `flat[starts[i]:starts[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(N,)"""
        return np.diff(self.starts)


def words(text: str) -> list[str]:
    """A text's words, case folded; Chinese and Japanese by the character."""
    return _WORD.findall(text.casefold())


def hashed_words(texts: Sequence[str]) -> Ragged:
    """The 64-bit hash of every word of every text, in order: the same on every machine.

    A word's hash is a polynomial over its code points, computed for about `CHARACTERS_AT_ONCE` at a time: word by word
    in Python took eight times as long. It is the difference of two prefix sums over all characters, divided by the
    power that the word's place has put into it: modulo 2⁶⁴ an odd number has an inverse.
    """
    kinds, terms = _kinds(), _terms()
    flats, counts = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)]
    for part in _parts(texts):
        points = np.frombuffer("\n".join([*part, ""]).encode("utf-32-le", "surrogatepass"), np.uint32)  # (C,)
        last = np.cumsum([len(text) + 1 for text in part])  # of each text, its line break included
        kind = kinds[points]
        begins = kind > 0
        begins[1:] &= (kind[:-1] != 1) | (kind[1:] != 1)
        closes = np.zeros(len(points) + 1, bool)
        closes[1:] = kind > 0
        closes[1:-1] &= (kind[:-1] != 1) | (kind[1:] != 1)
        first, end = np.flatnonzero(begins), np.flatnonzero(closes)
        counts.append(np.diff(np.searchsorted(first, last), prepend=0))
        powers, inverses = _powers(len(points))
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(terms[points] * powers, out=sums[1:])
        flats.append(mixed((sums[end] - sums[first]) * inverses[first]))
    return Ragged(np.concatenate(flats), np.cumsum(np.concatenate(counts)).astype(np.int64))


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    length = 0
    for text in texts:
        part.append(text.casefold())
        length += len(text)
        if length > CHARACTERS_AT_ONCE:
            yield part
            part, length = [], 0
    if part:
        yield part


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """For each code point: 0 stands in no word, 1 in a run, 2 for itself. Made by the pattern that `words` uses."""
    found = np.zeros(0x110000, np.uint8)
    for low in range(0, 0x110000, 0x10000):
        for word in _WORD.finditer("".join(map(chr, range(low, low + 0x10000)))):
            one, end = low + word.start(), low + word.end()
            found[one:end] = 2 if _WORD.fullmatch(chr(one) * 2) is None else 1
    return found


@cache
def _terms() -> Hashes:
    """For each code point what it adds."""
    return mixed(np.arange(1, 0x110001, dtype=np.uint64))


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """(size,) the powers of the factor, and of its inverse."""
    powers, inverses = _powers_of_a_part() if size <= 2 * CHARACTERS_AT_ONCE else _made_powers(size)
    return powers[:size], inverses[:size]


@cache
def _powers_of_a_part() -> tuple[Hashes, Hashes]:
    return _made_powers(2 * CHARACTERS_AT_ONCE)


def _made_powers(size: int) -> tuple[Hashes, Hashes]:
    powers = np.full(size, _FACTOR, np.uint64)  # from the first: a word's first character counts once the factor
    inverses = np.full(size, pow(int(_FACTOR), -1, 1 << 64), np.uint64)
    inverses[0] = 1
    return np.cumprod(powers, dtype=np.uint64), np.cumprod(inverses, dtype=np.uint64)


def ngrams(hashed: Ragged, size: int) -> Ragged:
    """The hash of every run of `size` words, in order; a text of fewer words has none."""
    counts = np.maximum(hashed.sizes - size + 1, 0)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    first = np.repeat(hashed.starts[:-1] - starts[:-1], counts) + np.arange(starts[-1])  # (S,)
    found = np.zeros(len(first), np.uint64)
    for offset in range(size):
        found = found * _FACTOR + hashed.flat[first + offset]
    return Ragged(mixed(found), starts)


def shingle_sets(texts: Sequence[str], *, size: int = 2) -> Ragged:
    """Each text's set of word n-grams, sorted; of a text with fewer words than `size` + 1, its words."""
    hashed = hashed_words(texts)
    grams = ngrams(hashed, size)
    short = hashed.sizes <= size
    sizes = np.where(short, hashed.sizes, grams.sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    flat = np.empty(starts[-1], np.uint64)
    use_words = np.repeat(short, sizes)
    flat[use_words] = mixed(hashed.flat[np.repeat(short, hashed.sizes)])
    flat[~use_words] = grams.flat[np.repeat(~short, grams.sizes)]
    return sorted_sets(Ragged(flat, starts))


def sorted_sets(ragged: Ragged) -> Ragged:
    """Each part sorted, without its repetitions. Sorts the array it is given."""
    flat, starts = ragged.flat, ragged.starts
    bounds = starts.tolist()
    for low, high in pairwise(bounds):  # one sort over (text, hash) took ten times as long
        flat[low:high].sort()
    new = np.ones(len(flat), bool)
    new[1:] = flat[1:] != flat[:-1]
    new[starts[:-1][ragged.sizes > 0]] = True
    kept = np.concatenate([[0], np.cumsum(new)]).astype(np.int64)
    return Ragged(flat[new], kept[starts])


def mixed(hashes: Hashes) -> Hashes:
    """Every bit of the input in every bit of the output (splitmix64's finaliser; Steele et al. 2014)."""
    hashes = hashes ^ (hashes >> np.uint64(30))
    hashes = hashes * np.uint64(0xBF58476D1CE4E5B9)
    hashes = hashes ^ (hashes >> np.uint64(27))
    hashes = hashes * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
