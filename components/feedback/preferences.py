"""Feedback as preference data: DPO pairs and KTO rows. Pure functions of what screening left.

Made by ourselves rather than by `trl`: these are four columns, and the training that reads them keeps its exactness.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.data.tables import content_id, normalised
from components.feedback.reasons import COMPARES, DUPLICATE, IN_TRAIN, NO_CORRECTION, UNDECIDED
from components.feedback.screening import Refused
from components.feedback.subjects import person
from components.ledger.kinds import thumb
from components.ledger.schema import Feedback

if TYPE_CHECKING:
    import pandas as pd

DPO_COLUMNS = ("id", "prompt", "chosen", "rejected")
KTO_COLUMNS = ("id", "prompt", "completion", "label")

HARMLESS = frozenset({NO_CORRECTION, DUPLICATE, IN_TRAIN, COMPARES, UNDECIDED})
"""Refusals of rows that make no training row, and still say which of two answers somebody prefers."""


def usable(rows: Sequence[Feedback], refused: Sequence[Refused]) -> list[Feedback]:
    """The rows from which a preference may be learned: all but those that screening refused for what they are."""
    bad = {one.feedback.feedback_id for one in refused if one.reason not in HARMLESS}
    return [row for row in rows if row.feedback_id not in bad]


def dpo_pairs(rows: Sequence[Feedback]) -> "pd.DataFrame":
    """Columns id, prompt, chosen, rejected; one row a pair, sorted (Rafailov et al. 2023, arXiv 2305.18290).

    A preference is a pair. A correction is preferred to the answer that it corrects. An answer that a person approved,
    or rated 4 or 5, is preferred to another one, to the same text, that the same person rejected, or rated 1 or 2.
    Where two people prefer opposite ways, neither pair is kept.
    """
    found: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    thumbs: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: {"approve": [], "reject": []})
    for row in rows:
        if row.kind == "correct" and row.correction and row.correction.strip():
            _prefer(found, row.text, correction_of(row), row.output)
        elif row.kind == "prefer" and row.other_output:
            _prefer(found, row.text, row.output, row.other_output)
        elif (said := thumb(row.kind, row.rating)) in ("approve", "reject"):
            thumbs[content_id(row.text), person(row)][said].append(row.output)
    texts = {content_id(row.text): row.text for row in reversed(rows)}
    for (text_id, _), given in thumbs.items():
        for good in given["approve"]:
            for bad in given["reject"]:
                _prefer(found, texts[text_id], good, bad)
    kept = [pair for (text_id, good, bad), pair in found.items() if (text_id, bad, good) not in found]
    return _frame([(content_id(text), text, good, bad) for text, good, bad in kept], DPO_COLUMNS)


def kto_rows(rows: Sequence[Feedback]) -> "pd.DataFrame":
    """Columns id, prompt, completion, label (wanted or not), sorted (Ethayarajh et al. 2024, arXiv 2402.01306).

    A thumb is one row (a rating of 4 or 5 is one up, of 1 or 2 one down), a correction two: the answer is unwanted, the
    correction wanted. Of a completion that is both wanted and unwanted nothing is kept.
    """
    found: dict[tuple[str, str], tuple[str, str, set[bool]]] = {}

    def add(text: str, completion: str, label: bool) -> None:
        if text.strip() and completion.strip():
            key = content_id(text), normalised(completion)
            found.setdefault(key, (text, completion, set()))[2].add(label)

    for row in rows:
        if (said := thumb(row.kind, row.rating)) in ("approve", "reject"):
            add(row.text, row.output, said == "approve")
        elif row.kind == "correct" and row.correction and normalised(row.correction) != normalised(row.output):
            add(row.text, row.output, False)
            add(row.text, correction_of(row), True)
    kept = [(text, completion, labels) for text, completion, labels in found.values() if len(labels) == 1]
    return _frame([(content_id(t), t, c, next(iter(labels))) for t, c, labels in kept], KTO_COLUMNS)


def correction_of(row: Feedback) -> str:
    """A correction without blanks around; of an indented answer, which is a function's body, indented as it came."""
    said = row.correction or ""
    return said.strip("\n").rstrip() if row.output[:1].isspace() else said.strip()


def taught(rows: Sequence[Feedback], made: "pd.DataFrame") -> list[str]:
    """The ids of the feedback whose answers stand in the pairs, or rows, that were made of it."""
    answers = [name for name in ("chosen", "rejected", "completion") if name in made.columns]
    stand = {
        (row_id, normalised(text)) for name in answers for row_id, text in zip(made["id"], made[name], strict=True)
    }
    said = [row for row in rows if row.kind != "comment"]
    return [row.feedback_id for row in said if (content_id(row.text), normalised(row.output)) in stand]


def _prefer(found: dict[tuple[str, str, str], tuple[str, str, str]], text: str, chosen: str, rejected: str) -> None:
    if text.strip() and rejected.strip() and normalised(chosen) != normalised(rejected):
        found.setdefault((content_id(text), normalised(chosen), normalised(rejected)), (text, chosen, rejected))


def _frame(rows: Sequence[tuple[object, ...]], names: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows, columns=list(names)).sort_values(list(names), ignore_index=True)
