"""What each kind of feedback says, and what must come with it."""

from typing import get_args

from components.errors import UsageError
from components.ledger.schema import FeedbackKind

KINDS: tuple[FeedbackKind, ...] = get_args(FeedbackKind)
LIKED, DISLIKED = 4, 2
"""A rating from here on up is a thumb up, from here on down a thumb down; between them it is neither."""


def check_kind(
    kind: str, *, correction: str | None, comment: str | None, rating: int | None, other: str | None
) -> None:
    """Refuse what does not go together.

    Raises:
        UsageError: there is no such kind, what it needs is missing, or what it does not have is given.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no feedback kind {kind!r}", f"kinds are {', '.join(KINDS)}")
    for name, given, owner in (
        ("correction", correction, "correct"),
        ("rating", rating, "rate"),
        ("other", other, "prefer"),
    ):
        if given is not None and kind != owner:
            raise UsageError(f"kind is {kind}, but there is a {name}", f"send kind {owner}")
    if kind == "rate" and rating not in range(1, 6):
        raise UsageError(f"a rating is 1 to 5, not {rating}", "send rating")
    if kind == "prefer" and other is None:
        raise UsageError("a preference needs the answer that is liked less", "send other_request_id")
    if kind == "comment" and not (comment or "").strip():
        raise UsageError("kind is comment, but there is none", "send comment")


def thumb(kind: FeedbackKind, rating: int | None) -> FeedbackKind:
    """The thumb that a rating amounts to: `approve`, `reject`, or still `rate`; other kinds are themselves."""
    if kind != "rate" or rating is None:
        return kind
    return "approve" if rating >= LIKED else "reject" if rating <= DISLIKED else "rate"
