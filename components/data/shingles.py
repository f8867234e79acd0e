"""Texts as hashed words and word n-grams, many at a time: what near-duplicates and contamination are found by.

A ragged array is a flat array and the positions where each text begins, one more than there are texts.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_WORD = re.compile(r"[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""A run of letters and digits; a Chinese or Japanese character by itself, for these are written without spaces."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)


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
    """The 64-bit hash of every word of every text, in order: the same on every machine."""
    known: dict[str, int] = {}
    flat: list[int] = []
    starts = np.zeros(len(texts) + 1, np.int64)
    for position, text in enumerate(texts):
        for word in _WORD.findall(text.casefold()):
            found = known.get(word)
            if found is None:
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                found = known[word] = int.from_bytes(digest, "little")
            flat.append(found)
        starts[position + 1] = len(flat)
    return Ragged(np.array(flat, np.uint64), starts)


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
    owner = np.repeat(np.arange(len(texts)), sizes)
    use_words = short[owner]
    flat = np.empty(len(owner), np.uint64)
    flat[use_words] = mixed(hashed.flat[np.repeat(short, hashed.sizes)])
    flat[~use_words] = grams.flat[np.repeat(~short, grams.sizes)]
    order = np.lexsort((flat, owner))
    flat, owner = flat[order], owner[order]
    new = np.ones(len(flat), bool)
    new[1:] = (flat[1:] != flat[:-1]) | (owner[1:] != owner[:-1])
    counts = np.bincount(owner[new], minlength=len(texts))
    return Ragged(flat[new], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def mixed(hashes: Hashes) -> Hashes:
    """Every bit of the input in every bit of the output (splitmix64's finaliser; Steele et al. 2014)."""
    hashes = hashes ^ (hashes >> np.uint64(30))
    hashes = hashes * np.uint64(0xBF58476D1CE4E5B9)
    hashes = hashes ^ (hashes >> np.uint64(27))
    hashes = hashes * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
