"""MinHash with rensa and banding with numpy, for the peers that bring no near-duplicate removal of their own."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tests.benchmarks.data_peers.protocol import NUM_BANDS, NUM_HASHES, ROWS_PER_BAND, THRESHOLD, WORD

FACTOR = np.uint64(0x9E3779B97F4A7C15)


def signatures(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """(N, NUM_HASHES) of each text's word pairs.

    rensa hashes the words, numpy makes pairs of the hashes: a third less time than joining strings.
    """
    from rensa import RMinHash

    hashed = RMinHash.hash_token_sets([WORD.findall(text.casefold()) for text in texts])
    flat, ends = [], [0]
    for words in hashed:
        array = np.array(words, np.uint64)
        flat.append(array[:-1] * FACTOR + array[1:])
        ends.append(ends[-1] + len(flat[-1]))
    return digests(np.concatenate([np.zeros(0, np.uint64), *flat]), np.array(ends, np.uint64))


def digests(pairs: npt.NDArray[np.uint64], ends: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """(N, NUM_HASHES) of hashed word pairs, text i's being `pairs[ends[i]:ends[i + 1]]`."""
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(pairs, ends, NUM_HASHES, 0)
    return np.array(matrix.to_rows(), np.uint32).reshape(-1, NUM_HASHES)


def first_of_its_kind(signature: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """(N,) whether a text is the first of those that hang together by near-duplicates.

    A pair that shares a band is one when its signatures agree in `THRESHOLD` of their places.
    """
    parent = np.arange(len(signature))

    def root(of: int) -> int:
        while parent[of] != of:
            parent[of] = parent[parent[of]]
            of = parent[of]
        return of

    pairs: set[tuple[int, int]] = set()
    for band in range(NUM_BANDS):
        part = np.ascontiguousarray(signature[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND])
        key = part.view(np.dtype((np.void, part.itemsize * ROWS_PER_BAND))).ravel()
        _, bucket, size = np.unique(key, return_inverse=True, return_counts=True)
        members: dict[int, list[int]] = {}
        for at in np.flatnonzero(size[bucket] > 1).tolist():
            members.setdefault(int(bucket[at]), []).append(at)
        for crowd in members.values():
            pairs.update((one, other) for place, one in enumerate(crowd) for other in crowd[place + 1 :])
    if pairs:
        found = np.array(sorted(pairs))
        alike = np.concatenate(
            [
                (signature[part[:, 0]] == signature[part[:, 1]]).mean(axis=1) >= THRESHOLD
                for part in np.array_split(found, 1 + len(found) // 100_000)
            ]
        )
        for one, other in found[alike].tolist():
            low, high = sorted((root(one), root(other)))
            parent[high] = low
    return parent == np.arange(len(parent))
