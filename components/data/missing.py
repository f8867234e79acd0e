"""What becomes of empty cells: the row is dropped, or the cell is filled and the row says so."""

from collections import Counter
from collections.abc import Mapping, Sequence

from components.data.cleaning import NO_ANSWER, NO_TEXT, Row, kept
from components.errors import RecipeError

CONSTANT = "unknown"
FILLABLE = ("text", "answer", "source", "licence", "group")


def handle_missing(rows: Sequence[Row], policies: Mapping[str, str]) -> None:
    """Fill or reject, in place. Without a policy a row lacking text or answer is dropped.

    `most_frequent` is the most frequent value of the rows that have one (ties: the smallest).

    Raises:
        RecipeError: a policy for a column that cannot be filled.
    """
    for column, policy in policies.items():
        if column not in FILLABLE:
            raise RecipeError(f"missing: {column!r} cannot be filled", f"columns are {', '.join(FILLABLE)}")
        if policy == "drop":
            continue
        value = CONSTANT
        if policy == "most_frequent":
            counts = Counter(getattr(row, column) for row in kept(rows) if getattr(row, column))
            value = min(counts, key=lambda name: (-counts[name], name)) if counts else CONSTANT
        for row in kept(rows):
            if not getattr(row, column):
                setattr(row, column, value)
                row.imputed = f"{row.imputed},{column}".strip(",")
    dropped = {"text": NO_TEXT, "answer": NO_ANSWER} | {
        column: f"no {column}" for column, policy in policies.items() if policy == "drop" and column in FILLABLE[2:]
    }
    for row in kept(rows):
        row.reason = next((reason for column, reason in dropped.items() if not getattr(row, column)), "")
