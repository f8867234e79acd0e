"""Which feedback may teach: every row is admitted, or refused with a reason that its author can look up.

What is decided depends on the rows, the data version, the policy and the appeals below the cut alone, so the same cut
gives the same training set.

First each row by itself (does it teach anything, is it in the test split, what do its words give away), then each
subject (bursts, canaries), then subjects against each other (`reliability`), and last how much one subject may say.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from components.data.cleaning import MISFIT
from components.data.shingles import shingle_sets
from components.data.tables import content_id
from components.feedback import content
from components.feedback.reasons import (
    AGAINST_TRAIN,
    BURST,
    CANARY,
    CONTRADICTORY,
    DISTRUSTED,
    DUPLICATE,
    EMPTY,
    IN_TEST,
    IN_TRAIN,
    INJECTION,
    KEPT_ASIDE,
    NEARLY_IN_TEST,
    OUTSIDE,
    OUTVOTED,
    OVER_SHARE,
    SECRET,
    SPAM,
    SUPERSEDED,
    UNKNOWN_LABEL,
    UNRELIABLE,
    WITHOUT_ANSWER,
)
from components.feedback.reliability import Vote, dawid_skene
from components.feedback.subjects import bursts, failing_canaries, is_kept_aside, over_share, person
from components.ledger.kinds import thumb
from components.ledger.schema import Feedback
from components.recipes import ScreeningPolicy
from components.tasks.base import Feedback as Opinion
from components.tasks.base import Task, column_type

NEAR = 0.8
"""Jaccard overlap of word pairs from which two texts count as nearly the same, as when tables are built."""


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
    said: Admitted | None = None
    """What it would have taught; None where nothing could be made of it."""


def screen(
    rows: Sequence[Feedback],
    *,
    task: Task,
    labels: Sequence[str],
    train: "pd.DataFrame",
    test: "pd.DataFrame",
    policy: ScreeningPolicy | None = None,
    appealed: Collection[str] = (),
) -> tuple[list[Admitted], list[Refused]]:
    """Admit or refuse feedback rows; both lists in order of arrival, one admitted row a text.

    Args:
        rows: in order of arrival (`Ledger.feedback_upto`).
        labels: the table's; empty where answers are free text.
        train: the table's training split, without feedback.
        test: its test split: what is in there, or nearly, is never trained on.
        policy: default: `ScreeningPolicy()`.
        appealed: ids of the rows whose refusal an operator has overruled (`Ledger.appealed_upto`).
    """
    policy = policy or ScreeningPolicy()
    is_labelled = column_type(task, task.columns[1]) == "label"
    canaries = {content_id(text): answer for text, answer in policy.canaries.items()}
    known = dict(zip(train["id"], train[task.columns[1]], strict=True))
    guard, domain = _TestSplit(test), content.Domain(train["text"])
    appealed = frozenset(appealed)
    refused: dict[int, str] = {}
    valid: list[Admitted] = []  # what says something of a text, whether or not it may teach
    for row in rows:
        row_id = content_id(row.text)
        kind = thumb(row.kind, row.rating)
        target, reason = None, WITHOUT_ANSWER.get(kind, EMPTY)
        if kind == "approve" or kind == "reject" or kind == "correct":
            target = task.training_row(row.text, Opinion(kind, row.output, row.correction))
        if target is None and row.text.strip():  # it may still teach which of two answers is liked better
            is_aside = is_kept_aside(row, policy)
            words = "" if row.feedback_id in appealed else _of_words(row, domain, policy)
            reason = KEPT_ASIDE if is_aside else guard.reason(row_id, row.text) or words or reason
        elif target is not None:
            target, reason = _meant(row.text, target, task, labels)
            reason = reason or guard.reason(row_id, row.text)
        if reason or target is None:
            refused[row.sequence] = reason
            continue
        one = Admitted(row, row_id, target)
        valid.append(one)
        if is_kept_aside(row, policy):
            refused[row.sequence] = KEPT_ASIDE
        elif row_id in canaries:
            refused[row.sequence] = CANARY
        elif row_id in known:
            refused[row.sequence] = IN_TRAIN if known[row_id] == target else AGAINST_TRAIN
        elif row.feedback_id not in appealed and (reason := _of_words(row, domain, policy)):
            refused[row.sequence] = reason

    def refuse(sequences: Iterable[int], reason: str) -> None:
        refused.update((number, reason) for number in sequences if number not in refused)

    def open_() -> list[Admitted]:
        return [one for one in valid if one.feedback.sequence not in refused]

    overruled = {row.sequence for row in rows if row.feedback_id in appealed}
    refuse(bursts([one.feedback for one in open_()], policy) - overruled, BURST)
    truth: dict[str, str] = {}
    if is_labelled:
        canaries = {row_id: _as_label(answer, labels) or answer for row_id, answer in canaries.items()}
        failed = failing_canaries([(one.feedback, canaries.get(one.row_id), one.target) for one in valid], policy)
        theirs = (one.feedback.sequence for one in open_() if one.feedback.subject in failed)
        refuse(set(theirs) - overruled, DISTRUSTED)
        truth = {row_id: label for row_id, label in (known | canaries).items() if label in set(labels)}
    settled: dict[str, list[Admitted]] = defaultdict(list)
    for one in open_():
        settled[one.row_id].append(one)
    tried = [one for one in valid if one.row_id in truth and not is_kept_aside(one.feedback, policy)]
    admitted, left = _agreed(settled, tried, labels if is_labelled else (), truth, policy, overruled)
    refused |= left
    beyond = over_share([one.feedback for one in admitted], policy) - overruled
    refuse(beyond, OVER_SHARE)
    admitted = [one for one in admitted if one.feedback.sequence not in beyond]
    said = {one.feedback.sequence: one for one in valid}
    return admitted, [
        Refused(row, refused[row.sequence], said.get(row.sequence)) for row in rows if row.sequence in refused
    ]


def _of_words(row: Feedback, domain: content.Domain, policy: ScreeningPolicy) -> str:
    """What the words of a row give away, if anything."""
    texts = [text for text in (row.text, row.correction, row.comment) if text]
    if content.is_secret(texts):
        return SECRET
    if content.is_injection(texts):
        return INJECTION
    if content.is_spam(texts):
        return SPAM
    return OUTSIDE if domain.is_outside(row.text, least_overlap=policy.domain_overlap) else ""


def _agreed(
    settled: Mapping[str, Sequence[Admitted]],
    tried: Sequence[Admitted],
    labels: Sequence[str],
    truth: Mapping[str, str],
    policy: ScreeningPolicy,
    overruled: Collection[int],
) -> tuple[list[Admitted], dict[int, str]]:
    """Of rows about one text the one that teaches; sequence → reason for the others.

    Args:
        tried: rows about texts whose answer is known, `truth`: they teach nothing, and tell who is right how often.
        labels: none where answers are free text: then only what all agree on teaches.
    """
    refused: dict[int, str] = {}
    latest: dict[str, list[Admitted]] = {}
    for row_id, same in settled.items():
        latest[row_id], left = _last_words(same)
        refused |= left
    posterior: Mapping[str, Mapping[str, float]] = {}
    spoken = [*tried, *(one for same in latest.values() for one in same)]
    if labels and len({person(one.feedback) for one in spoken}) > 1:
        votes = {
            (one.row_id, who): Vote(one.row_id, who, one.target) for one in spoken for who in [person(one.feedback)]
        }
        agreement = dawid_skene(list(votes.values()), labels=labels, known=truth)
        posterior = agreement.posterior
        lying = {
            who
            for who, (count, trust) in agreement.trust.items()
            if count >= policy.minimum_votes and trust < policy.minimum_trust
        }
        for row_id, same in latest.items():
            doubted = [
                one
                for one in same
                if (person(one.feedback), one.target) in lying and one.feedback.sequence not in overruled
            ]
            refused |= {one.feedback.sequence: UNRELIABLE for one in doubted}
            latest[row_id] = [one for one in same if one not in doubted]
    admitted = []
    for row_id, same in latest.items():
        chosen, left = _one_of(same, posterior.get(row_id, {}), policy, overruled)
        refused |= left
        admitted += [chosen] if chosen else []
    return sorted(admitted, key=lambda one: one.feedback.sequence), refused


def _last_words(same: Sequence[Admitted]) -> tuple[list[Admitted], dict[int, str]]:
    """Each person's last word on one text; sequence → reason for the others."""
    latest: dict[str, Admitted] = {}
    refused: dict[int, str] = {}
    for one in same:
        who = person(one.feedback)
        if (earlier := latest.get(who)) and earlier.target == one.target:
            refused[one.feedback.sequence] = DUPLICATE
            continue
        if earlier:
            refused[earlier.feedback.sequence] = SUPERSEDED
        latest[who] = one
    return sorted(latest.values(), key=lambda one: one.feedback.sequence), refused


def _one_of(
    left: Sequence[Admitted], posterior: Mapping[str, float], policy: ScreeningPolicy, overruled: Collection[int]
) -> tuple[Admitted | None, dict[int, str]]:
    """Of different people's words on one text the one that teaches: agreed on, appealed, or likely enough."""
    if not left:
        return None, {}
    wanted = {one.target for one in left}
    appealed = [one for one in left if one.feedback.sequence in overruled]
    if appealed:
        target = appealed[-1].target
    elif len(wanted) == 1:
        target = left[0].target
    else:
        target = max(sorted(wanted), key=lambda one: posterior.get(one, 0.0))
        if posterior.get(target, 0.0) < policy.certainty:
            return None, {one.feedback.sequence: CONTRADICTORY for one in left}
    right = [one for one in left if one.target == target]
    chosen = next((one for one in right if one.feedback.sequence in overruled), right[0])
    refused = {one.feedback.sequence: DUPLICATE for one in right if one is not chosen}
    return chosen, refused | {one.feedback.sequence: OUTVOTED for one in left if one.target != target}


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
