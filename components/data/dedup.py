"""Duplicates: the same text, the same text with another answer, and nearly the same text."""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from components.data.cleaning import CONFLICT, DUPLICATE, NEAR_DUPLICATE, Row, kept
from components.data.shingles import Ragged, mixed, shingle_sets, sorted_sets
from components.data.tables import content_id

MAX_HASHES = 128
RECALL = 0.995
"""Of pairs exactly at the threshold; those above meet oftener."""
WHOLE_BUCKET = 64
"""In a fuller bucket not every pair is compared: each text with the bucket's first, and the unlike ones again."""
PAIRS_AT_ONCE = 1 << 16
HASHES_AT_ONCE = 1 << 15
"""So many stay in a core's cache while they are hashed over and over."""

Pairs = npt.NDArray[np.int64]
"""(P, 2): positions of two texts, the smaller first."""


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


def drop_near_duplicates(rows: Sequence[Row], *, threshold: float = 0.8, first: Collection[str] = ()) -> None:
    """Of kept rows that hang together by overlaps of `threshold` or more, keep one: of `first`, else the smallest id.

    The overlap is the Jaccard index of the sets of word pairs. `first` are ids that are kept before others: those of
    an earlier version, whose rows must not change places because a newcomer resembles them.
    """
    candidates = sorted(kept(rows), key=lambda row: (row.id not in first, row.id))
    pairs = near_pairs([row.text for row in candidates], threshold=threshold)
    for index in np.flatnonzero(components(len(candidates), pairs) != np.arange(len(candidates))):
        candidates[index].reason = NEAR_DUPLICATE


def drop_near_duplicates_of(rows: Sequence[Row], others: Sequence[str], *, threshold: float = 0.8) -> None:
    """Drop kept rows that overlap by `threshold` or more with one of `others`, texts of another split or table."""
    candidates = kept(rows)
    texts = [*others, *(row.text for row in candidates)]
    pairs = near_pairs(texts, threshold=threshold)
    across = (pairs[:, 0] < len(others)) & (pairs[:, 1] >= len(others))
    for index in np.unique(pairs[across, 1]) - len(others):
        candidates[index].reason = NEAR_DUPLICATE


# ---------------------------------------------------------------- the blocks


def near_pairs(texts: Sequence[str], *, threshold: float, words: int = 2) -> Pairs:
    """Pairs of texts whose sets of `words`-grams have a Jaccard index of `threshold` or more.

    MinHash with banding finds candidates (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, ch. 3);
    each is then measured exactly, so that no pair below the threshold is given, and of those at it `RECALL` are.
    In a bucket of more than `WHOLE_BUCKET` texts, enough pairs are given to connect those like its first.
    """
    sets = shingle_sets(texts, size=words)
    pairs = candidate_pairs(signatures(sets, threshold=threshold), rows_per_band=bands(threshold)[1], sets=sets)
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        found.append(part[jaccard(sets, part) >= threshold])
    return np.concatenate(found)


def bands(threshold: float) -> tuple[int, int]:
    """How many bands of how many hashes: the most rows that `MAX_HASHES` allow where a pair at the threshold meets.

    1 − (1 − tʳ)ᵇ ≥ `RECALL`: more rows a band bring fewer unlike pairs together.
    """
    best = (MAX_HASHES, 1)
    for rows in range(1, MAX_HASHES + 1):
        chance = threshold**rows
        number = 1 if chance >= 1 else math.ceil(math.log(1 - RECALL) / math.log1p(-chance))
        if number * rows > MAX_HASHES:
            break
        best = (number, rows)
    return best


def signatures(sets: Ragged, *, threshold: float) -> npt.NDArray[np.uint32]:
    """(N, bands × rows) MinHash values; all ones where a text has no words."""
    num_bands, rows = bands(threshold)
    draw = np.random.default_rng(0)
    factors = draw.integers(1, 2**63, num_bands * rows, dtype=np.uint64) | np.uint64(1)
    offsets = draw.integers(0, 2**63, num_bands * rows, dtype=np.uint64)
    found = np.full((num_bands * rows, len(sets)), 0xFFFFFFFF, np.uint32)
    filled = np.flatnonzero(sets.sizes)
    per_part = max(1, HASHES_AT_ONCE * len(filled) // max(len(sets.flat), 1))
    for start in range(0, len(filled), per_part):
        part = filled[start : start + per_part]
        low, high = sets.starts[part[0]], sets.starts[part[-1] + 1]
        values = sets.flat[low:high]
        starts = sets.starts[part] - low
        for number in range(num_bands * rows):  # multiply-shift (Dietzfelbinger et al. 1997)
            hashed = ((values * factors[number] + offsets[number]) >> np.uint64(32)).astype(np.uint32)
            found[number, part] = np.minimum.reduceat(hashed, starts)
    return found.T


def candidate_pairs(signature: npt.NDArray[np.uint32], *, rows_per_band: int, sets: Ragged | None = None) -> Pairs:
    """Pairs of texts with a band in common, each once. With `sets`, crowded buckets are thinned by measuring."""
    count = len(signature)
    filled = np.flatnonzero((signature != 0xFFFFFFFF).any(axis=1))
    found = [np.zeros(0, np.int64)]
    for start in range(0, signature.shape[1], rows_per_band):
        key = np.zeros(len(filled), np.uint64)
        for column in range(start, start + rows_per_band):
            key = mixed(key ^ signature[filled, column].astype(np.uint64)) + np.uint64(column)
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
        sizes = np.diff(edges)
        for size in np.unique(sizes[(sizes > 1) & (sizes <= WHOLE_BUCKET)]):
            at = edges[:-1][sizes == size][:, None] + np.arange(size)  # (buckets, size)
            members = filled[order[at]]
            one, other = np.triu_indices(size, 1)
            found.append((members[:, one] * count + members[:, other]).ravel())
        for position in np.flatnonzero(sizes > WHOLE_BUCKET):
            members = filled[order[edges[position] : edges[position + 1]]]
            found.append(_star_pairs(members, count, sets))
        if sum(map(len, found)) > 1 << 22:
            found = [np.unique(np.concatenate(found))]
    codes = np.unique(np.concatenate(found))
    return np.stack([codes // max(count, 1), codes % max(count, 1)], axis=1)


def _star_pairs(members: npt.NDArray[np.int64], count: int, sets: Ragged | None) -> npt.NDArray[np.int64]:
    """The first with all others; then, of those that have little in common with it, the same again."""
    found = []
    while len(members) > 1:
        pairs = np.stack([np.full(len(members) - 1, members[0]), members[1:]], axis=1)
        found.append(pairs[:, 0] * count + pairs[:, 1])
        members = members[1:][jaccard(sets, pairs) < 0.5] if sets is not None else members[1:]
    return np.concatenate(found)


def jaccard(sets: Ragged, pairs: Pairs) -> npt.NDArray[np.float64]:
    """(P,) the exact index |A ∩ B| / |A ∪ B| of each pair; 0 where both are empty."""
    sizes = sets.sizes[pairs]  # (P, 2)
    both = sizes.sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(sizes.ravel())]).astype(np.int64)
    at = np.repeat(sets.starts[pairs.ravel()] - starts[:-1], sizes.ravel()) + np.arange(starts[-1])
    union = sorted_sets(Ragged(sets.flat[at], starts[::2])).sizes
    return np.divide(both - union, union, out=np.zeros(len(pairs)), where=union > 0)


def components(num_texts: int, pairs: Pairs) -> npt.NDArray[np.int64]:
    """(N,) for each text the smallest position in its connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(num_texts, num_texts))
    _, label = connected_components(links, directed=False) if num_texts else (0, np.zeros(0, np.int64))
    smallest = np.full(num_texts, num_texts, np.int64)
    np.minimum.at(smallest, label, np.arange(num_texts))
    return smallest[label]
