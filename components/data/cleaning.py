"""Texts made plain, and the reasons for which a row is not kept."""

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

NO_TEXT = "no text"
NO_ANSWER = "no label or target"
MALFORMED = "malformed row"
MISFIT = "does not fit its text"
UNKNOWN_LABEL = "unknown label"
RARE_LABEL = "label with too few rows"
DUPLICATE = "duplicate"
CONFLICT = "conflicting label"
NEAR_DUPLICATE = "near-duplicate"
TOO_SHORT = "too short"
TOO_LONG = "too long"
NO_BODY = "function without a body"
NO_SUMMARY = "no first line to learn from"
NOT_PROSE = "mostly not words"
GENERATED = "generated or data, not written"
FILE_SHARE = "over the share of one source file"
QUOTA = "over quota"
FILLED_IN_TEST = "filled-in answer in a test group"
ONLY_FILLED_IN = "label that was only filled in"
IN_TEST = "source file of a test split"
OTHER_LANGUAGE = "another language"
CONTAMINATED = "piece of a benchmark"


@dataclass(slots=True)
class Row:
    """One row on its way into a table. `answer` is the label or the target; '' in a corpus."""

    text: str
    answer: str
    source: str
    licence: str
    group: str
    origin: str = "provenance"
    imputed: str = ""
    id: str = ""
    split: str = ""
    reason: str = ""
    """Why it is not kept; '' while it is."""
    more: dict[str, str] = field(default_factory=dict)
    """Further columns of the task's, with their cells."""
    references: tuple[str, ...] = ()
    """All answers that are right, of a row that was given several; `answer` is the first. Not kept in a table."""


def kept(rows: Iterable[Row]) -> list[Row]:
    """The rows that no step has rejected."""
    return [row for row in rows if not row.reason]


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u2028\u2029\ufeff\ud800-\udfff]")


def clean_prose(text: str) -> str:
    """NFC, no control characters, every run of spaces one space."""
    return " ".join(_CONTROL.sub("", unicodedata.normalize("NFC", text)).split())


def clean_code(text: str) -> str:
    """NFC, no control characters, `\\n` line ends, no spaces at line ends, no blank lines around."""
    text = _CONTROL.sub("", unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")))
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def clean_compatible(text: str) -> str:
    """NFKC (Unicode annex 15): full-width letters, ligatures and odd spaces as their plain forms; lines stay lines."""
    text = clean_code(text if text.isascii() else unicodedata.normalize("NFKC", text))
    if "  " in text or "\t" in text:
        text = _GAP.sub(" ", text)
    return re.sub(r"\n{3,}", "\n\n", text) if "\n\n\n" in text else text


_GAP = re.compile(r"(?<=\S)(?:[ \t]{2,}|\t)")
"""Not at a line's beginning. One space is left alone: to put it in its own place took three times as long."""


def clean_json(text: str) -> str:
    """A JSON value on one line with its letters as they are, NFC, no control characters; what is no JSON as prose."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if not isinstance(value, dict | list):  # 1.50 is text, and would become 1.5
        return clean_prose(text)
    text = json.dumps(value, ensure_ascii=False)
    return _CONTROL.sub("", unicodedata.normalize("NFC", text))


_ROLE = re.compile(r":[a-zA-Z][\w+:-]*:`~?\.?([^`<]*?)(?:\s*<[^>]*>)?`")  # reStructuredText: :class:`~a.B`
_EPYTEXT = re.compile(r"\b[LCIBUM]\{([^{}]*)\}")  # epytext: L{a.B}, C{None}
_TICKS = re.compile(r"`{1,3}([^`]*)`{1,3}_{0,2}")
_STARS = re.compile(r"(?<!\w)\*{1,2}([^*\s][^*]*?)\*{1,2}(?!\w)")


def strip_markup(text: str) -> str:
    """A docstring's words without its markup: the markup would give the library away, not the meaning."""
    text = _ROLE.sub(r"\1", text)
    for _ in range(2):  # L{C{x}} nests
        text = _EPYTEXT.sub(r"\1", text)
    text = _TICKS.sub(r"\1", text)
    return _STARS.sub(r"\1", text).replace("\\ ", " ").replace("::", ":")


def name_masker(names: Iterable[str]) -> re.Pattern[str]:
    """The pattern of `names` in any case. Names of four letters or more also within a word (`KerasTensor`)."""
    ordered = sorted({name.casefold() for name in names}, key=lambda name: (-len(name), name))
    parts = [
        re.escape(name) if len(name) > 3 else rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])" for name in ordered
    ]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)


def prose_reason(text: str, *, min_words: int, max_chars: int) -> str:
    """Why a description is not kept; '' when it is."""
    if not text:
        return NO_TEXT
    words = re.findall(r"[^\W\d_]{2,}", text)
    if len(words) < min_words:
        return TOO_SHORT
    if len(text) > max_chars:
        return TOO_LONG
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return NOT_PROSE if letters < 0.7 * len(text) else ""


_LETTERS = re.compile(r"[^\W\d_]+")


def document_reason(text: str, *, min_chars: int = 200, max_line_chars: int = 400) -> str:
    """Why a source file or a piece of a book is not kept; '' when it is."""
    if not text.strip():
        return NO_TEXT
    if len(text) < min_chars:
        return TOO_SHORT
    letters = sum(map(len, _LETTERS.findall(text)))  # a generator over characters took 4 s on the demo's sources
    longest = max(len(line) for line in text.split("\n"))
    return GENERATED if longest > max_line_chars or letters < 0.4 * len(text) else ""
