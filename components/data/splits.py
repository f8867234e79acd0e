"""Which row goes into which split: by hashes of what it is, so that the answer is the same on every machine."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from components.data.cleaning import FILE_SHARE, FILLED_IN_TEST, QUOTA, RARE_LABEL, Row, kept

ROWS_PER_GROUP = 15
"""At most so many rows of one source file: test rows of one file resemble each other, and a paired test
that takes them for independent would be too sure."""


def unit(seed: int, key: str) -> float:
    """A number in [0, 1), a function of seed and key alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:7]) / 2.0**56


def split_by_quota(rows: Sequence[Row], quotas: Mapping[str, int], *, seed: int, strata: str) -> None:
    """So many rows a split, the same number of each stratum (`answer` or `source`), the remainder to the first ones.

    Test takes whole groups, in the order of their hashes, and what is left of its last group is dropped: a
    test row shares its source file with no row of another split. The others take rows in the order of theirs.
    """
    by_stratum: dict[str, list[Row]] = defaultdict(list)
    for row in kept(rows):
        by_stratum[getattr(row, strata)].append(row)
    for position, stratum in enumerate(sorted(by_stratum)):
        shares = {
            split: total // len(by_stratum) + (position < total % len(by_stratum)) for split, total in quotas.items()
        }
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(by_stratum[stratum], key=lambda row: (unit(seed, row.id), row.id)):
            if len(groups[row.group]) < ROWS_PER_GROUP:
                groups[row.group].append(row)
            else:
                row.reason = FILE_SHARE
        order = sorted(groups, key=lambda group: (unit(seed, group), group))
        remaining = shares.pop("test", 0)
        while remaining and order:
            group = groups[order.pop(0)]
            for row in group[:remaining]:
                row.split = "test"
            for row in group[remaining:]:
                row.reason = QUOTA
            remaining -= min(remaining, len(group))
        rest = [row for group in order for row in groups[group]]
        rest.sort(key=lambda row: (unit(seed, row.id), row.id))
        for split, number in shares.items():
            for row in rest[:number]:
                row.split = split
            rest = rest[number:]
        for row in rest:
            row.reason = QUOTA


def split_by_share(rows: Sequence[Row], test_share: float, *, seed: int, by_label: bool) -> None:
    """Into train and test by the hash of each row's group: rows that come later move none that are there.

    With `by_label`, a label that the hashes leave without a test (or train) row gives the group nearest to the
    boundary; a label that lives in one group only cannot be in both, and is rejected.
    """
    where = {group: "test" if unit(seed, group) < test_share else "train" for group in {r.group for r in kept(rows)}}
    if by_label:
        groups_of: dict[str, set[str]] = defaultdict(set)
        for row in kept(rows):
            groups_of[row.answer].add(row.group)
        for label in sorted(groups_of):
            groups = sorted(groups_of[label], key=lambda group: (unit(seed, group), group))
            if len(groups) < 2:
                for row in kept(rows):
                    if row.answer == label:
                        row.reason = RARE_LABEL
            elif all(where[group] == "train" for group in groups):
                where[groups[0]] = "test"
            elif all(where[group] == "test" for group in groups):
                where[groups[-1]] = "train"
    for row in kept(rows):
        row.split = where[row.group]
        if row.split == "test" and {"label", "target"} & set(row.imputed.split(",")):
            row.reason = FILLED_IN_TEST  # a guess is nothing to measure by


def split_corpus(rows: Sequence[Row], *, max_chars: int, heldout_share: float, seed: int) -> None:
    """Per source, documents in the order of their hashes until `max_chars`; a share, one at least, is held out."""
    by_source: dict[str, list[Row]] = defaultdict(list)
    for row in kept(rows):
        by_source[row.source].append(row)
    for source in sorted(by_source):
        ordered = sorted(by_source[source], key=lambda row: (unit(seed, row.group), row.group))
        num_chars = 0
        taken = []
        for row in ordered:
            if num_chars + len(row.text) > max_chars:
                row.reason = QUOTA
            else:
                num_chars += len(row.text)
                taken.append(row)
        heldout_chars = 0
        for row in sorted(taken, key=lambda row: (unit(seed + 1, row.group), row.group)):
            row.split = "heldout" if heldout_chars < heldout_share * num_chars else "train"
            heldout_chars += len(row.text) if row.split == "heldout" else 0
