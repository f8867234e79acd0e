"""Gopher's quality rules for many texts at once: the answers of `quality.gopher_reason`, in a fraction of its time.

Words and lines are found in arrays of code points, so that no word becomes a Python object.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from components.data.quality import _BULLETS, _EAST, STOP_WORDS, GopherQuality, gopher_reason, is_east_asian
from components.data.shingles import CHARACTERS_AT_ONCE

Places = npt.NDArray[np.int64]

_OTHER, _LETTER, _SPACE, _BREAK = range(4)
"""A line break is white space as well."""
_LOWER = re.compile(r"[a-z]+")
_HEADS = (1 << 10, 1 << 13, None)
"""Of most texts the stop words are found in the first so many characters."""
_RULES = GopherQuality()


def gopher_reasons(texts: Sequence[str], *, rules: GopherQuality = _RULES) -> list[str]:
    """For each text, why it is not kept by Gopher's quality rules; '' when it is."""
    found = [""] * len(texts)
    for places in _parts(texts):
        for place, reason in zip(places, _reasons([texts[place] for place in places], rules), strict=True):
            found[place] = reason
    return found


def _parts(texts: Sequence[str]) -> Iterator[list[int]]:
    """Places of texts to be looked at together: those of ASCII apart, for a byte is a character there."""
    for ascii_only in (True, False):
        part: list[int] = []
        length = 0
        for place, text in enumerate(texts):
            if text.isascii() == ascii_only:
                part.append(place)
                length += len(text)
                if length > CHARACTERS_AT_ONCE:
                    yield part
                    part, length = [], 0
        if part:
            yield part


def _reasons(texts: Sequence[str], rules: GopherQuality) -> Iterator[str]:
    for text, counted in zip(texts, _count(texts).tolist(), strict=True):
        num_words, num_chars, lettered, num_lines, bullets, trailing = counted
        if not text.isascii() and _EAST.search(text) and is_east_asian(text):
            yield gopher_reason(text, rules=rules)
        elif not rules.min_words <= num_words <= rules.max_words:
            yield "Gopher, number of words"
        elif not rules.min_mean_word_chars <= num_chars / max(num_words, 1) <= rules.max_mean_word_chars:
            yield "Gopher, mean word length"
        elif max(text.count("#"), text.count("...") + text.count("…")) > rules.max_symbols_per_word * num_words:
            yield "Gopher, symbols to words"
        elif bullets > rules.max_bullet_lines * num_lines:
            yield "Gopher, bullet lines"
        elif trailing > rules.max_ellipsis_lines * num_lines:
            yield "Gopher, lines that end in an ellipsis"
        elif lettered < rules.min_words_with_letter * num_words:
            yield "Gopher, words without letters"
        elif not _has_stop_words(text, rules.min_stop_words):
            yield "Gopher, stop words"
        else:
            yield ""


def _has_stop_words(text: str, wanted: int) -> bool:
    for length in _HEADS:
        found = _LOWER.findall(text[:length].lower())
        if length and len(text) > length:
            found = found[:-1]  # it may be cut
        if len(STOP_WORDS.intersection(found)) >= wanted:
            return True
    return False


def _count(texts: Sequence[str]) -> Places:
    """(N, 6): words, characters in words, words with a letter; lines, those with a bullet, those that trail off."""
    points, kinds = _points_and_kinds("\n".join(["\n\n", *texts, ""]))
    begins = np.cumsum([3, *(len(text) + 1 for text in texts)])  # (N + 1,)
    solid = kinds < _SPACE
    edges = np.flatnonzero(solid[1:] != solid[:-1]) + 1  # a word begins, it ends, the next begins
    starts, ends = edges[::2], edges[1::2] - 1  # (W,)
    words = np.searchsorted(starts, begins)  # (N + 1,) the first of each text
    chars = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts + 1)])
    line = np.searchsorted(np.flatnonzero(kinds == _BREAK), starts)  # (W,)
    new = np.ones(len(starts), bool)
    new[1:] = line[1:] != line[:-1]
    first, last = starts[new], ends[np.roll(new, -1)]
    dots = (points[last] == 46) & (points[last - 1] == 46) & (points[last - 2] == 46)
    lettered = np.logical_or.reduceat(kinds == _LETTER, starts) if len(starts) else new
    per_text = lambda places: np.diff(np.searchsorted(places, begins))  # noqa: E731
    counts = (
        np.diff(words),
        np.diff(chars[words]),
        per_text(starts[lettered]),
        per_text(first),
        per_text(first[np.isin(points[first], [ord(bullet) for bullet in _BULLETS])]),
        per_text(last[dots | (points[last] == 0x2026)]),
    )
    return np.stack(counts, axis=1)


def _points_and_kinds(text: str) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """(C,) code points, and what Python says of each."""
    if text.isascii():
        chars = text.encode("ascii")
        return np.frombuffer(chars, np.uint8), np.frombuffer(chars.translate(_ascii_kinds()), np.uint8)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return points, _kinds()[points]


@cache
def _ascii_kinds() -> bytes:
    return bytes([*map(_kind, range(128)), *bytes(128)])


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    found = np.array([char.isalpha() for char in map(chr, range(0x110000))], np.uint8) * np.uint8(_LETTER)
    for point in range(0x3001):  # all white space is below
        found[point] = _kind(point)
    return found


def _kind(point: int) -> int:
    char = chr(point)
    if len(f"a{char}a".splitlines()) > 1:
        return _BREAK
    return _SPACE if char.isspace() else _LETTER if char.isalpha() else _OTHER
