"""Texts that hold a piece of a benchmark: what a model is measured by must not be what it has learned.

Word n-grams in common, as GPT-3's authors searched for them (Brown et al. 2020, appendix C: 13 words).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.data.cleaning import CONTAMINATED, Row, kept
from components.data.shingles import hashed_words, ngrams

NUM_WORDS = 13
MIN_WORDS = 5
"""A benchmark's text of fewer words than `NUM_WORDS` is searched for whole; of fewer than these it is not."""


class Contamination:
    """The n-grams of a list of benchmark texts, to be looked up in any number of texts."""

    def __init__(self, benchmark: Sequence[str], *, num_words: int = NUM_WORDS) -> None:
        """Compared are words, case folded and without punctuation; Chinese and Japanese by the character."""
        hashed = hashed_words(benchmark)
        self.grams: dict[int, npt.NDArray[np.uint64]] = {}
        """Size → its n-grams' hashes, sorted."""
        sizes = np.minimum(hashed.sizes, num_words)
        for size in np.unique(sizes[sizes >= min(MIN_WORDS, num_words)]).tolist():
            found = ngrams(hashed, size)
            mine = np.repeat(sizes == size, found.sizes)
            self.grams[size] = np.unique(found.flat[mine])

    def found_in(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(N,) whether each text holds one of the n-grams."""
        hashed = hashed_words(texts)
        hit = np.zeros(len(texts), bool)
        for size, known in self.grams.items():
            grams = ngrams(hashed, size)
            place = np.searchsorted(known, grams.flat)
            place[place == len(known)] = 0
            owner = np.repeat(np.arange(len(texts)), grams.sizes)
            hit[owner[known[place] == grams.flat]] = True
        return hit


def drop_contaminated(rows: Sequence[Row], benchmark: Sequence[str], *, num_words: int = NUM_WORDS) -> None:
    """Drop kept rows whose text or answer holds `num_words` words in a row of one of the benchmark's texts."""
    candidates = kept(rows)
    contamination = Contamination(benchmark, num_words=num_words)
    hit = contamination.found_in([row.text for row in candidates])
    hit |= contamination.found_in([row.answer for row in candidates])
    for index in np.flatnonzero(hit):
        candidates[index].reason = CONTAMINATED
