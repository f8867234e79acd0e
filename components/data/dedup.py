"""Duplicates: the same text, the same text with another answer, and nearly the same text."""

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from components.data.cleaning import CONFLICT, DUPLICATE, NEAR_DUPLICATE, Row, kept
from components.data.tables import content_id

NUM_HASHES = 32
ROWS_PER_BAND = 4
"""Eight bands of four: pairs of Jaccard 0.8 meet with probability 0.985, of 0.4 with 0.19; all are then measured."""


def drop_duplicates(rows: Sequence[Row]) -> None:
    """Give every kept row its id; of equal texts keep the first by group, or none where the answers differ."""
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in kept(rows):
        row.id = content_id(row.text)
        by_id[row.id].append(row)
    for same in by_id.values():
        if len({row.answer for row in same}) > 1:
            for row in same:
                row.reason = CONFLICT
        else:
            for row in sorted(same, key=lambda row: (row.group, row.source))[1:]:
                row.reason = DUPLICATE


def shingles(text: str) -> frozenset[int]:
    """Hashes of a text's word pairs (of its words, where it has fewer than three)."""
    words = re.findall(r"\w+", text.casefold())
    parts = [f"{a} {b}" for a, b in pairwise(words)] if len(words) > 2 else words
    return frozenset(zlib.crc32(part.encode("utf-8", "surrogatepass")) for part in parts)


def drop_near_duplicates(rows: Sequence[Row], *, threshold: float = 0.8) -> None:
    """Of kept rows whose word pairs overlap by `threshold` (Jaccard) or more, keep the smallest id.

    MinHash with banding (Broder 1997; Leskovec, Rajaraman, Ullman, ch. 3), then the exact overlap of every pair met.
    """
    candidates = sorted(kept(rows), key=lambda row: row.id)
    sets = [shingles(row.text) for row in candidates]
    dropped: set[int] = set()
    for first, second in sorted(_meetings(sets)):
        if first not in dropped and second not in dropped:
            union = len(sets[first] | sets[second])
            if union and len(sets[first] & sets[second]) >= threshold * union:
                dropped.add(second)
    for index in dropped:
        candidates[index].reason = NEAR_DUPLICATE


def _meetings(sets: Sequence[frozenset[int]]) -> set[tuple[int, int]]:
    """Pairs (smaller index, larger index) that share a band; in a big bucket, neighbours and its first only."""
    filled = [index for index, found in enumerate(sets) if found]
    if not filled:
        return set()
    flat = np.concatenate([np.fromiter(sorted(sets[index]), np.uint64) for index in filled])  # (S,)
    starts = np.cumsum([0, *(len(sets[index]) for index in filled[:-1])])  # (N,)
    draw = np.random.default_rng(0)
    factors = draw.integers(1, 2**31 - 1, NUM_HASHES, dtype=np.uint64)
    offsets = draw.integers(0, 2**31 - 1, NUM_HASHES, dtype=np.uint64)
    prime = np.uint64(2**31 - 1)
    # Values < 2**31 and factors < 2**31: the product fits 64 bits.
    values = flat % prime
    signature = np.stack(
        [
            np.minimum.reduceat((values * factor + offset) % prime, starts)
            for factor, offset in zip(factors, offsets, strict=True)
        ],
        axis=1,
    )  # (N, NUM_HASHES)
    pairs: set[tuple[int, int]] = set()
    for band in range(0, NUM_HASHES, ROWS_PER_BAND):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for position, index in enumerate(filled):
            buckets[signature[position, band : band + ROWS_PER_BAND].tobytes()].append(index)
        for bucket in buckets.values():
            if len(bucket) > 1:
                pairs.update(pairwise(bucket))
                pairs.update((bucket[0], other) for other in bucket[1:])
    return pairs
