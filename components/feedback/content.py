"""What a feedback row's words give away: secrets, instructions to the model, advertising, text from another domain.

Patterns catch the plain cases and nothing else: whoever hides an instruction well passes them. What protects the
model is that a row only teaches an answer to a text, that others are asked, and that the gate measures the result.
"""

import re
from collections.abc import Iterable

from components.data.tables import normalised

SECRET = re.compile(r"\[KEY_\d+\]")
"""What masking leaves of a key, a token or a password: the ledger never had the value."""

INJECTION = re.compile(
    r"(?ix)"
    r"\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+)?(?:of\s+)?(?:the\s+|your\s+|my\s+)?"
    r"(?:previous|prior|above|earlier|preceding)\s+(?:instruction|prompt|message|rule|direction|text)"
    r"|\b(?:reveal|print|repeat|show)\s+(?:me\s+)?(?:your|the)\s+(?:system|hidden|initial)\s+(?:prompt|message|instruction)"
    r"|\byou\s+are\s+(?:now|no\s+longer)\s+(?:an?\s+|in\s+|bound|dan\b)"
    r"|<\|(?:im_start|im_end|system|user|assistant|endoftext|begin_of_text|start_header_id|eot_id)\|>"
    r"|\[/?INST\]|<</?SYS>>|^\s*\#{2,}\s*(?:system|instruction|new\s+instructions?)\s*:?\s*$"
    r"|(?:忽略|无视|忘记)(?:所有|全部|以上|之前|先前|上述|前面)+的?(?:所有)?(?:指令|提示|规则|要求|内容)"
)
"""Words that address the model rather than the matter (the patterns of OWASP's LLM01, direct injection)."""

_LINK = re.compile(r"(?:https?://|www\.)\S", re.I)
_RUN = re.compile(r"(\S)\1{24,}")
MOST_LINKS = 3
MOST_REPEATED = 0.5
"""Of twenty words or more, the share of the most frequent one (Gopher's rules look at the same; Rae et al. 2021)."""

LEAST_TRIGRAMS = 12
LEAST_KNOWN = 1000
"""A training split with fewer different trigrams says nothing of a domain."""


def is_secret(texts: Iterable[str]) -> bool:
    """Whether a key, a token or a password was in it."""
    return any(SECRET.search(text) for text in texts)


def is_injection(texts: Iterable[str]) -> bool:
    """Whether it speaks to the model."""
    return any(INJECTION.search(text) for text in texts)


def is_spam(texts: Iterable[str]) -> bool:
    """Links after links, one character over and over, or one word."""
    for text in texts:
        words = text.casefold().split()
        if len(_LINK.findall(text)) > MOST_LINKS or _RUN.search(text):
            return True
        if len(words) >= 20 and max(words.count(word) for word in set(words)) > MOST_REPEATED * len(words):
            return True
    return False


class Domain:
    """The letter trigrams of a table's training texts.

    The measure is the share of a text's trigrams that they hold: no language and no tokenizer need be known. It tells
    other scripts, gibberish and encoded data, and does not tell two matters in the same language: of the demo's 3,000
    rows outside the 200 that were the profile none is below 0.34 and 1 in 1,000 below 0.55; other scripts, keyboard
    mash and base64 are below 0.1; an everyday English sentence has 0.85.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._known: set[str] = set()
        for text in texts:
            self._known |= _trigrams(text)

    def is_outside(self, text: str, *, least_overlap: float) -> bool:
        """Whether so little of `text` is known; never of a short text, nor against a small profile."""
        mine = _trigrams(text)
        if len(mine) < LEAST_TRIGRAMS or len(self._known) < LEAST_KNOWN:
            return False
        return len(mine & self._known) < least_overlap * len(mine)


def _trigrams(text: str) -> set[str]:
    plain = normalised(text)
    return {plain[i : i + 3] for i in range(len(plain) - 2)}
