"""What to look for when a turn of a conversation is asked: a turn that leans on those before takes them along."""

import re
from collections.abc import Sequence

from components.retrieval.passages import words

FOLLOW_UP_WORDS = 7
"""A turn of fewer words may lean on the one before, which is then looked for as well."""
MAX_TURNS = 3
"""Of the user, looked for together."""

_LEANS = re.compile(
    r"(?:and|but|or|so|then|what about|how about)\b|.*\b(?:its?|this|those|these|they|them|their)\b",
    re.IGNORECASE | re.DOTALL,
)
"""A beginning that goes on, or a pronoun: *And what is the default of k?*"""


def leans(turn: str) -> bool:
    """Whether a turn may leave unsaid what it is about."""
    return len(words(turn)) < FOLLOW_UP_WORDS or _LEANS.match(turn.strip()) is not None


def query_of(turns: Sequence[str]) -> str:
    """What to look for: the last turn, behind the user's ones that it leans on."""
    said = [turns[-1]]
    for i in range(len(turns) - 3, -1, -2):
        if len(said) == MAX_TURNS or not leans(said[0]):
            break
        said.insert(0, turns[i])
    return " ".join(said)
