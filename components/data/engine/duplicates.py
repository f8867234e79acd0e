"""Which documents of the whole corpus are duplicates, with memory for a slice of their hashes at a time.

A document is its number in the order of the corpus. What is held of each is its id, its component and a flag: 17 bytes.
Bands and sets of word pairs stay on disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.data.dedup import WHOLE_BUCKET, bands, components, jaccard
from components.data.engine.blocks import PREPARED
from components.data.shingles import Hashes, Ragged

KEPT, DUPLICATE, NEAR_DUPLICATE = 0, 1, 2
BYTES_A_KEY = 40
"""Of a slice of a band while it is sorted: hash, number, order, and what falls due in passing."""
SET_BYTES_AT_ONCE = 32 << 20

Numbers = npt.NDArray[np.int64]


@dataclass
class Found:
    """What became of each document (`KEPT` …), and what it took."""

    decisions: npt.NDArray[np.uint8]
    """(N,)"""
    starts: Numbers
    """(parts + 1,): part p has the documents `starts[p]` to `starts[p + 1]`."""
    candidate_pairs: int = 0
    edges: int = 0
    """Pairs that were measured and are as alike as asked for."""
    spill_bytes: int = 0
    slices: int = 1
    """Into so many a band was cut to be sorted within the memory."""


def find(work: Path, *, num_parts: int, threshold: float, memory_bytes: int) -> Found:
    """Of equal texts the first is kept; of those that hang together by overlaps of `threshold`, the smallest id.

    The same documents are kept as by `dedup.drop_near_duplicates` (but that in a bucket of more than `WHOLE_BUCKET`
    alike enough pairs are measured to connect those like one another): MinHash bands find candidates, which are then
    measured exactly. Pairs that hang together already are not measured again.
    """
    folders = [work / PREPARED / f"{number:06}" for number in range(num_parts)]
    ids = np.concatenate([np.zeros(0, np.uint64), *(np.load(folder / "ids.npy") for folder in folders)])
    counts = [np.load(folder / "ids.npy", mmap_mode="r").shape[0] for folder in folders]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    found = Found(np.zeros(len(ids), np.uint8), starts)
    found.decisions[_again(ids)] = DUPLICATE
    label = np.arange(len(ids), dtype=np.int64)
    sets = _Sets(folders, starts)
    num_bands = bands(threshold)[0]
    found.slices = max(1, -(-len(ids) * BYTES_A_KEY // max(memory_bytes, 1)))
    found.spill_bytes = sum((folder / "keys.npy").stat().st_size for folder in folders)
    for band in range(num_bands):
        for which in range(found.slices):
            keys, numbers = _slice_of_band(folders, starts, band, which, found.slices, found.decisions)
            label = _joined(keys, numbers, label, sets, found, threshold)
    found.decisions[_not_smallest(label, ids, found.decisions)] = NEAR_DUPLICATE
    return found


def _again(ids: Hashes) -> npt.NDArray[np.bool_]:
    """(N,) whether an id was there before."""
    order = np.argsort(ids, kind="stable")
    again = np.zeros(len(ids), bool)
    again[order[1:]] = ids[order[1:]] == ids[order[:-1]]
    return again


def _slice_of_band(
    folders: list[Path], starts: Numbers, band: int, which: int, num_slices: int, decisions: npt.NDArray[np.uint8]
) -> tuple[Hashes, Numbers]:
    """The band's hashes that fall into a slice, and whose they are; documents that are gone and empty ones left out."""
    keys, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for folder, low, high in zip(folders, starts[:-1], starts[1:], strict=True):
        row = _row_of(folder / "keys.npy", band)
        good = (row > 0) & (decisions[low:high] == KEPT)
        if num_slices > 1:
            good &= row % np.uint64(num_slices) == which
        keys.append(row[good])
        numbers.append(np.flatnonzero(good) + low)
    return np.concatenate(keys), np.concatenate(numbers)


def _row_of(path: Path, band: int) -> Hashes:
    """One row of an array on disk, read: mapped pages would stay in memory."""
    with path.open("rb") as opened:
        version = np.lib.format.read_magic(opened)
        assert version == (1, 0)  # what np.save writes for plain arrays
        shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
        opened.seek(band * shape[1] * dtype.itemsize, 1)
        return np.fromfile(opened, dtype, shape[1])


def _joined(keys: Hashes, numbers: Numbers, label: Numbers, sets: "_Sets", found: Found, threshold: float) -> Numbers:
    """The components after those pairs of a slice are joined that are as alike as asked for."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    sizes = np.diff(edges)
    for size in np.unique(sizes[(sizes > 1) & (sizes <= WHOLE_BUCKET)]):
        at = edges[:-1][sizes == size][:, None] + np.arange(size)
        members = numbers[order[at]]  # (buckets, size)
        one, other = np.triu_indices(size, 1)
        label = _measured(
            np.stack([members[:, one].ravel(), members[:, other].ravel()], 1), label, sets, found, threshold
        )
    for position in np.flatnonzero(sizes > WHOLE_BUCKET):
        members = numbers[order[edges[position] : edges[position + 1]]]
        while len(members) > 1:  # the first with all others; then, of those that did not join it, the same again
            pairs = np.stack([np.full(len(members) - 1, members[0]), members[1:]], 1)
            label = _measured(pairs, label, sets, found, threshold)
            members = members[1:][label[members[1:]] != label[members[0]]]
    return label


def _measured(pairs: Numbers, label: Numbers, sets: "_Sets", found: Found, threshold: float) -> Numbers:
    """The components with those pairs joined whose Jaccard index is `threshold` or more."""
    pairs = pairs[label[pairs[:, 0]] != label[pairs[:, 1]]]
    found.candidate_pairs += len(pairs)
    for part in sets.affordable(pairs):
        part = part[label[part[:, 0]] != label[part[:, 1]]]
        if not len(part):
            continue
        numbers, which = np.unique(part, return_inverse=True)
        alike = part[jaccard(sets.read(numbers), which.reshape(part.shape)) >= threshold]
        found.edges += len(alike)
        if len(alike):
            label = _union(label, alike)
    return label


def _union(label: Numbers, alike: Numbers) -> Numbers:
    """(N,) labels with the components of each pair made one; a label is the smallest number in its component."""
    roots, which = np.unique(label[alike], return_inverse=True)
    smallest = roots[components(len(roots), which.reshape(alike.shape))]
    place = np.searchsorted(roots, label)
    place[place == len(roots)] = 0
    return np.where(roots[place] == label, smallest[place], label)


def _not_smallest(label: Numbers, ids: Hashes, decisions: npt.NDArray[np.uint8]) -> Numbers:
    """The documents that are kept so far and have not the smallest id of their component."""
    good = np.flatnonzero(decisions == KEPT)
    order = good[np.lexsort((ids[good], label[good]))]
    again = np.zeros(len(order), bool)
    again[1:] = label[order[1:]] == label[order[:-1]]
    return order[again]


class _Sets:
    """The documents' sets of word pairs, on disk."""

    def __init__(self, folders: list[Path], starts: Numbers) -> None:
        self.folders, self.starts = folders, starts

    def affordable(self, pairs: Numbers) -> Iterator[Numbers]:
        """The pairs in portions whose sets take about `SET_BYTES_AT_ONCE`; a pair at least."""
        if not len(pairs):
            return
        sizes = self.sizes(pairs.ravel()).reshape(pairs.shape).sum(axis=1) * 8
        portion = np.cumsum(sizes) // SET_BYTES_AT_ONCE
        bounds = [0, *(np.flatnonzero(portion[1:] != portion[:-1]) + 1).tolist(), len(pairs)]
        for low, high in pairwise(bounds):
            yield pairs[low:high]

    def sizes(self, numbers: Numbers) -> Numbers:
        """How many word pairs each document has."""
        return np.concatenate(
            [np.zeros(0, np.int64), *(bound[:, 1] - bound[:, 0] for _, bound in self._bounds(numbers))]
        )[np.argsort(np.argsort(self._part(numbers), kind="stable"), kind="stable")]

    def read(self, numbers: Numbers) -> Ragged:
        """The sets of these documents, whose numbers are sorted."""
        flats, sizes = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)]
        for folder, bounds in self._bounds(numbers):
            sizes.append(bounds[:, 1] - bounds[:, 0])
            with (folder / "sets.bin").open("rb", buffering=0) as opened:
                for low, high in bounds.tolist():
                    opened.seek(low * 8)
                    flats.append(np.fromfile(opened, np.uint64, high - low))
        return Ragged(np.concatenate(flats), np.cumsum(np.concatenate(sizes)))

    def _part(self, numbers: Numbers) -> Numbers:
        return np.searchsorted(self.starts, numbers, side="right") - 1

    def _bounds(self, numbers: Numbers) -> Iterator[tuple[Path, Numbers]]:
        """For each part with some of the documents: its folder, and where their sets begin and end."""
        parts = self._part(numbers)
        for number in np.unique(parts):
            starts = np.load(self.folders[number] / "starts.npy")
            place = numbers[parts == number] - self.starts[number]
            yield self.folders[number], np.stack([starts[place], starts[place + 1]], 1)
