"""Which feedback may teach: every row is admitted, or refused with a reason that its author can look up.

What is decided depends on the rows and the data version alone, so the same cut gives the same training set.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from components.data.cleaning import MISFIT
from components.data.shingles import shingle_sets
from components.data.tables import content_id
from components.ledger.schema import Feedback
from components.tasks.base import Feedback as Opinion
from components.tasks.base import Task, column_type

NEAR = 0.8
"""Jaccard overlap of word pairs from which two texts count as nearly the same, as when tables are built."""

NO_CORRECTION = "thumbs-down without correction"
EMPTY = "empty"
UNKNOWN_LABEL = "unknown label"
IN_TEST = "in the test split"
NEARLY_IN_TEST = "nearly in the test split"
IN_TRAIN = "already in the training split"
AGAINST_TRAIN = "contradicts the training split"
SUPERSEDED = "superseded by a later row of the same person"
CONTRADICTORY = "contradictory: others want another answer to the same text"
DUPLICATE = "duplicate of earlier feedback"


@dataclass(frozen=True)
class Admitted:
    """A feedback row that may teach: `target` is the answer to learn for `text`."""

    feedback: Feedback
    row_id: str
    """`content_id(text)`."""
    target: str


@dataclass(frozen=True)
class Refused:
    feedback: Feedback
    reason: str


def screen(
    rows: Sequence[Feedback],
    *,
    task: Task,
    labels: Sequence[str],
    train: "pd.DataFrame",
    test: "pd.DataFrame",
) -> tuple[list[Admitted], list[Refused]]:
    """Admit or refuse feedback rows; both lists in order of arrival, one admitted row a text.

    Args:
        rows: in order of arrival (`Ledger.feedback_upto`).
        labels: the table's; empty where answers are free text.
        train: the table's training split, without feedback.
        test: its test split: what is in there, or nearly, is never trained on.
    """
    target_column = task.columns[1]
    known = dict(zip(train["id"], train[target_column], strict=True))
    guard = _TestSplit(test)
    refused: dict[int, str] = {}
    wanted: dict[str, list[Admitted]] = defaultdict(list)
    for row in rows:
        target = task.training_row(row.text, Opinion(row.kind, row.output, row.correction))
        row_id = content_id(row.text)
        reason = ""
        if target is None:
            reason = NO_CORRECTION if row.kind == "reject" else EMPTY
        else:
            target, reason = _meant(row.text, target, task, labels)
            if reason or (reason := guard.reason(row_id, row.text)):
                pass
            elif row_id in known:
                reason = IN_TRAIN if known[row_id] == target else AGAINST_TRAIN
        if reason or target is None:
            refused[row.sequence] = reason
        else:
            wanted[row_id].append(Admitted(row, row_id, target))
    admitted: list[Admitted] = []
    for same in wanted.values():
        chosen, left = _one_of(same)
        refused |= left
        admitted += [chosen] if chosen else []
    admitted.sort(key=lambda one: one.feedback.sequence)
    return admitted, [Refused(row, refused[row.sequence]) for row in rows if row.sequence in refused]


def _one_of(same: Sequence[Admitted]) -> tuple[Admitted | None, dict[int, str]]:
    """Of rows about one text, the one that teaches, if they agree; sequence → reason for the others."""
    latest: dict[str, Admitted] = {}
    refused: dict[int, str] = {}
    for one in same:
        # Without a subject nobody can tell whose it is: then each row is a person's.
        person = one.feedback.subject or f"row {one.feedback.sequence}"
        if (earlier := latest.get(person)) and earlier.target == one.target:
            refused[one.feedback.sequence] = DUPLICATE
            continue
        if earlier:
            refused[earlier.feedback.sequence] = SUPERSEDED
        latest[person] = one
    left = sorted(latest.values(), key=lambda one: one.feedback.sequence)
    if len({one.target for one in left}) > 1:
        return None, refused | {one.feedback.sequence: CONTRADICTORY for one in left}
    return left[0], refused | {one.feedback.sequence: DUPLICATE for one in left[1:]}


def _meant(text: str, target: str, task: Task, labels: Sequence[str]) -> tuple[str | None, str]:
    """The target in the form that is learned; or why it cannot be."""
    if column_type(task, task.columns[1]) == "label":
        meant = _as_label(target, labels)
        return meant, "" if meant else UNKNOWN_LABEL
    try:
        meant = task.fit(text, target)
    except ValueError as err:
        return None, f"{MISFIT}: {err}"
    strange = task.labels([meant]) - set(labels)
    return meant, f"{UNKNOWN_LABEL}: {min(strange)}" if strange else ""


def _as_label(target: str, labels: Sequence[str]) -> str | None:
    """The label that is meant, whatever its case and the spaces around it."""
    meant = target.strip()
    if meant in labels:
        return meant
    return next((label for label in labels if label.casefold() == meant.casefold()), None)


class _TestSplit:
    """What must never be trained on: the test split's texts, and what nearly equals one."""

    def __init__(self, test: "pd.DataFrame") -> None:
        self._ids = frozenset(test["id"])
        self._sizes: list[int] = []
        self._holders: Mapping[int, list[int]] = defaultdict(list)  # shingle → the texts that hold it
        for position, text in enumerate(test["text"]):
            found = _shingles(text)
            self._sizes.append(len(found))
            for shingle in found:
                self._holders[shingle].append(position)

    def reason(self, row_id: str, text: str) -> str:
        if row_id in self._ids:
            return IN_TEST
        mine = _shingles(text)
        shared: dict[int, int] = defaultdict(int)
        for shingle in mine:
            for position in self._holders.get(shingle, ()):
                shared[position] += 1
        for position, count in shared.items():
            if count >= NEAR * (len(mine) + self._sizes[position] - count):
                return NEARLY_IN_TEST
        return ""


def _shingles(text: str) -> list[int]:
    found: list[int] = shingle_sets([text]).flat.tolist()
    return found
