"""Quality filters with the thresholds of the papers: Gopher (Rae et al. 2021) and C4 (Raffel et al. 2020).

Each takes a text and answers '' or the reason for which it is not kept; none knows where the text came from.
The rules were written for English web pages. For Chinese and Japanese every character of theirs counts as a word, and
the rules about word length, letters and English stop words do not apply.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from components.data.shingles import hashed_words, ngrams, words

_EAST = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def is_east_asian(text: str) -> bool:
    """Whether Chinese and Japanese characters are a fifth or more of the text without its spaces."""
    return 5 * len(_EAST.findall(text)) >= max(1, len("".join(text.split())))


# ---------------------------------------------------------------- Gopher


@dataclass(frozen=True)
class GopherQuality:
    """Rae et al., Scaling Language Models (arXiv:2112.11446), appendix A.1.1, "Quality filtering"."""

    min_words: int = 50
    max_words: int = 100_000
    min_mean_word_chars: float = 3.0
    max_mean_word_chars: float = 10.0
    max_symbols_per_word: float = 0.1
    """Of `#`, and of the ellipsis."""
    max_bullet_lines: float = 0.9
    """Share of lines that begin with a bullet point."""
    max_ellipsis_lines: float = 0.3
    """Share of lines that end with an ellipsis."""
    min_words_with_letter: float = 0.8
    min_stop_words: int = 2
    """Different ones of `STOP_WORDS`."""


@dataclass(frozen=True)
class GopherRepetition:
    """Rae et al. 2021, table A1: the largest share of each kind of repetition."""

    duplicate_lines: float = 0.30
    duplicate_paragraphs: float = 0.30
    duplicate_line_chars: float = 0.20
    duplicate_paragraph_chars: float = 0.20
    top_2_gram_chars: float = 0.20
    top_3_gram_chars: float = 0.18
    top_4_gram_chars: float = 0.16
    duplicate_5_gram_chars: float = 0.15
    duplicate_6_gram_chars: float = 0.14
    duplicate_7_gram_chars: float = 0.13
    duplicate_8_gram_chars: float = 0.12
    duplicate_9_gram_chars: float = 0.11
    duplicate_10_gram_chars: float = 0.10


STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_BULLETS = ("•", "‣", "▶", "◦", "▪", "-", "*", "·", "–")
_ELLIPSES = ("...", "…", "……")
_QUALITY, _REPETITION = GopherQuality(), GopherRepetition()


def gopher_reason(text: str, *, rules: GopherQuality = _QUALITY) -> str:
    """Why a document is not kept by Gopher's quality rules; '' when it is."""
    east = is_east_asian(text)
    tokens = words(text) if east else text.split()
    if not rules.min_words <= len(tokens) <= rules.max_words:
        return "Gopher, number of words"
    if not east:
        mean = sum(map(len, tokens)) / len(tokens)
        if not rules.min_mean_word_chars <= mean <= rules.max_mean_word_chars:
            return "Gopher, mean word length"
    ellipses = text.count("...") + text.count("…")
    if max(text.count("#"), ellipses) > rules.max_symbols_per_word * len(tokens):
        return "Gopher, symbols to words"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if sum(line.startswith(_BULLETS) for line in lines) > rules.max_bullet_lines * len(lines):
        return "Gopher, bullet lines"
    if sum(line.endswith(_ELLIPSES) for line in lines) > rules.max_ellipsis_lines * len(lines):
        return "Gopher, lines that end in an ellipsis"
    if east:
        return ""
    if _with_letter(tokens) < rules.min_words_with_letter * len(tokens):
        return "Gopher, words without letters"
    return "" if _has_stop_words(text.lower(), rules.min_stop_words) else "Gopher, stop words"


def _with_letter(tokens: Sequence[str]) -> int:
    """How many tokens have a letter. Most are nothing but letters, and told at once."""
    others = [token for token in tokens if not token.isalpha()]
    return len(tokens) - len(others) + sum(any(map(str.isalpha, token)) for token in others)


_STOP_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(sorted(STOP_WORDS))})(?![a-z])")


def _has_stop_words(lowered: str, least: int) -> bool:
    """Whether so many different stop words are in a text: in prose the first line has them."""
    found: set[str] = set()
    if least <= 0:
        return True
    for match in _STOP_WORD.finditer(lowered):
        found.add(match.group())
        if len(found) >= least:
            return True
    return False


def gopher_repetition_reason(text: str, *, rules: GopherRepetition = _REPETITION) -> str:
    """Why a document is not kept by Gopher's repetition rules; '' when it is.

    Shares of n-grams are of the characters in words, and characters in overlapping n-grams count once (as the paper has
    it). An n-gram that occurs once is no repetition, however short the text.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    for parts, what, share, chars in (
        (lines, "lines", rules.duplicate_lines, rules.duplicate_line_chars),
        (paragraphs, "paragraphs", rules.duplicate_paragraphs, rules.duplicate_paragraph_chars),
    ):
        again = _repeated(parts)
        if len(again) > share * len(parts):
            return f"Gopher, duplicate {what}"
        if sum(map(len, again)) > chars * len(text):
            return f"Gopher, characters in duplicate {what}"
    lengths = np.array([len(word) for word in words(text)], np.int64)  # (W,)
    hashed = hashed_words([text])
    for field in fields(rules):
        if "_gram_" not in field.name:
            continue
        kind, size = field.name.split("_")[0], int(field.name.split("_")[1])
        covered = _covered(ngrams(hashed, size).flat, size, len(lengths), only_top=kind == "top")
        if lengths[covered].sum() > getattr(rules, field.name) * max(1, lengths.sum()):
            return f"Gopher, {'most frequent' if kind == 'top' else 'duplicate'} {size}-gram"
    return ""


def _repeated(parts: Sequence[str]) -> list[str]:
    """Every part that was there before."""
    seen: set[str] = set()
    again = []
    for part in parts:
        if part in seen:
            again.append(part)
        seen.add(part)
    return again


def _covered(grams: npt.NDArray[np.uint64], size: int, num_words: int, *, only_top: bool) -> npt.NDArray[np.bool_]:
    """(W,) which words stand in an n-gram that occurs more than once; or in the most frequent one."""
    covered = np.zeros(num_words, bool)
    if len(grams) < 2:
        return covered
    _, which, counts = np.unique(grams, return_inverse=True, return_counts=True)
    if counts.max() < 2:
        return covered
    at = np.flatnonzero(which == counts.argmax() if only_top else counts[which] > 1)
    for offset in range(size):
        covered[at + offset] = True
    return covered


# ---------------------------------------------------------------- C4


@dataclass(frozen=True)
class C4:
    """Raffel et al., Exploring the Limits of Transfer Learning (JMLR 21, 2020), section 2.2."""

    min_words_per_line: int = 5
    min_sentences: int = 3


_ENDS = (".", "!", "?", '"', "'", "”", "’", "。", "！", "？", "」", "』", "…")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)]*(?:\s|$)|[。！？]")
_C4 = C4()


def c4_lines(text: str, *, rules: C4 = _C4) -> str:
    """The lines of a page that C4 keeps: sentences, not menus and notices; Wikipedia's citation marks go as well."""
    good = []
    for line in text.split("\n"):
        line = _CITATION.sub("", line).strip()
        lowered = line.lower()
        if not line.endswith(_ENDS) or line.endswith("..."):
            continue
        if len(words(line) if _EAST.search(line) else line.split()) < rules.min_words_per_line:
            continue
        if "javascript" in lowered or any(notice in lowered for notice in _POLICY):
            continue
        good.append(line)
    return "\n".join(good)


def c4_reason(text: str, *, rules: C4 | None = _C4, blocked_words: Collection[str] = ()) -> str:
    """Why a page is not kept by C4's rules, after `c4_lines`; '' when it is. Without `rules`, by blocked words only.

    The paper's list of obscene words is not part of this package: give your own, in lower case.
    """
    lowered = text.lower()
    if rules and "lorem ipsum" in lowered:
        return "C4, lorem ipsum"
    if rules and "{" in text:
        return "C4, curly bracket"
    if blocked_words and not set(blocked_words).isdisjoint(re.findall(r"[^\W\d_]+", lowered)):
        return "C4, blocked word"
    if rules and len(_SENTENCE_END.findall(text)) < rules.min_sentences:
        return "C4, too few sentences"
    return ""
