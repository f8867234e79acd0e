"""Which row goes into which split: by hashes of what it is, so that the answer is the same on every machine."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from components.data.cleaning import FILE_SHARE, FILLED_IN_TEST, ONLY_FILLED_IN, QUOTA, RARE_LABEL, Row, kept

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


def split_by_share(
    rows: Sequence[Row],
    test_share: float,
    *,
    seed: int,
    by_label: bool,
    before: Mapping[str, str] = MappingProxyType({}),
    stratified: bool = False,
) -> None:
    """Into train and test by the hash of each row's group: rows that come later move none that are there.

    `before` is row id → split in the version before, and stands above the hash: what was measured by is never trained
    on, whatever is added and however the labels lie. A group with rows on both sides goes to test.

    With `by_label`, a label that is left without a test row gives the group nearest to the boundary, and one without a
    train row keeps its last; a label that lives in one group only, or in guesses only, cannot be in both, and is
    rejected. With `stratified` as well, new groups are taken into test, nearest to the boundary first, while a label of
    theirs lacks its share of rows, and left out of it where none does: as even as whole groups allow. What was filled
    in is rejected from test.
    """
    groups_of: dict[str, set[str]] = defaultdict(set)
    known_of: dict[str, set[str]] = defaultdict(set)
    labels_of: dict[str, Counter[str]] = defaultdict(Counter)
    fixed: dict[str, str] = {}
    for row in kept(rows):
        groups_of[row.answer].add(row.group)
        if not _is_guess(row):
            known_of[row.answer].add(row.group)
        labels_of[row.group][row.answer] += 1
        if (earlier := before.get(row.id)) in {"train", "test"} and fixed.get(row.group) != "test":
            fixed[row.group] = earlier
    by_hash = sorted(labels_of, key=lambda group: (unit(seed, group), group))
    if stratified and by_label:
        where = _even(by_hash, labels_of, fixed, test_share)
    else:
        where = {group: "test" if unit(seed, group) < test_share else "train" for group in by_hash} | fixed
    if by_label:
        for label in sorted(groups_of):
            groups = [group for group in by_hash if group in groups_of[label]]
            known = [group for group in groups if group in known_of[label]]
            if len(groups) < 2 or not known:
                _reject(rows, label, RARE_LABEL if known else ONLY_FILLED_IN)
                continue
            if not any(where[group] == "test" for group in known):
                where[known[0]] = "test"
            if all(where[group] == "test" for group in groups):
                movable = [group for group in groups if fixed.get(group) != "test"]
                if movable:  # what was guessed is dropped from test: better learned from
                    where[([group for group in movable if group not in known] or movable)[-1]] = "train"
                else:  # every group of it was measured by: nothing may be learned from
                    _reject(rows, label, RARE_LABEL)
    for row in kept(rows):
        row.split = where[row.group]
        if row.split == "test" and _is_guess(row):
            row.reason = FILLED_IN_TEST


def _is_guess(row: Row) -> bool:
    """Whether what is learned of it was filled in: nothing to measure by."""
    return bool(set(row.imputed.split(",")) - {"", "source", "licence", "group"})


def _reject(rows: Sequence[Row], label: str, reason: str) -> None:
    for row in kept(rows):
        if row.answer == label:
            row.reason = reason


def _even(
    by_hash: Sequence[str], labels_of: Mapping[str, Mapping[str, int]], fixed: Mapping[str, str], test_share: float
) -> dict[str, str]:
    """Group → split, each label's share of test rows as near to `test_share` as whole groups in order get it."""
    total: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    for group in by_hash:
        total.update(labels_of[group])
    for label, number in total.items():
        lacking[label] = round(test_share * number)
    for group, split in fixed.items():
        if split == "test":
            lacking.subtract(labels_of[group])
    where = dict(fixed)
    for group in by_hash:
        if group in where:
            continue
        counts = labels_of[group]
        gain = sum(min(number, max(lacking[label], 0)) for label, number in counts.items())
        loss = sum(max(number - max(lacking[label], 0), 0) for label, number in counts.items())
        where[group] = "test" if gain > loss else "train"
        if gain > loss:
            lacking.subtract(counts)
    return where


def split_corpus(
    rows: Sequence[Row], *, max_chars: int, heldout_share: float, seed: int, before: Collection[str] = ()
) -> None:
    """Per source, documents in the order of their hashes until `max_chars`; a share, one at least, is held out.

    `before` are ids of rows that were held out in the version before: they stay so, whatever is added.
    """
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
        for row in sorted(taken, key=lambda row: (row.id not in before, unit(seed + 1, row.group), row.group)):
            is_out = row.id in before or heldout_chars < heldout_share * num_chars
            row.split = "heldout" if is_out else "train"
            heldout_chars += len(row.text) if row.split == "heldout" else 0
