"""A recipe's rules for the texts of an own table, applied row by row: kept, or dropped with a reason."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from components.data import quality
from components.data.cleaning import NO_TEXT, OTHER_LANGUAGE, Row, clean_compatible, kept
from components.data.language import UNDETERMINED, identify
from components.data.quality_arrays import gopher_reasons
from components.errors import InputFileError
from components.recipes import TextRules


def apply_rules(rows: Sequence[Row], rules: TextRules) -> dict[str, int]:
    """Make the kept rows' texts plain as asked for, and drop those that break a rule; how many were changed by which.

    Raises:
        InputFileError: the list of blocked words cannot be read.
    """
    blocked = frozenset(word.lower() for word in _lines(rules.blocked_words)) if rules.blocked_words else frozenset()
    changed: Counter[str] = Counter()
    for row in kept(rows):
        text = row.text
        if rules.compatible_characters:
            text = clean_compatible(text)
            changed["normalised"] += text != row.text
        if rules.c4:
            before, text = text, quality.c4_lines(text)
            changed["lines dropped"] += text != before
        row.text = text
        row.reason = _early_reason(text, rules)
    if rules.gopher:
        waiting = kept(rows)
        for row, reason in zip(waiting, gopher_reasons([row.text for row in waiting]), strict=True):
            row.reason = reason
    if rules.gopher_repetition or rules.c4 or blocked:
        for row in kept(rows):
            row.reason = _late_reason(row.text, rules, blocked)
    return {name: number for name, number in changed.items() if number}


def _early_reason(text: str, rules: TextRules) -> str:
    if not text.strip():
        return NO_TEXT
    if rules.languages:
        guess = identify(text)
        certain = guess.language if guess.confidence >= rules.min_language_confidence else UNDETERMINED
        if certain not in rules.languages:
            return f"{OTHER_LANGUAGE}: {certain}"
    return ""


def _late_reason(text: str, rules: TextRules, blocked: frozenset[str]) -> str:
    reason = quality.gopher_repetition_reason(text) if rules.gopher_repetition else ""
    if not reason and (rules.c4 or blocked):
        reason = quality.c4_reason(text, rules=quality.C4() if rules.c4 else None, blocked_words=blocked)
    return reason


def read_benchmarks(paths: Sequence[Path]) -> list[str]:
    """Texts that must not be learned: of `.jsonl` every string of every object, of other files every line.

    Raises:
        InputFileError: a file that is missing, unreadable or no UTF-8.
    """
    return [text for path in paths for text in _texts(path)]


def _texts(path: Path) -> list[str]:
    import json

    lines = _lines(path)
    if path.suffix.lower() not in {".jsonl", ".ndjson"}:
        return lines
    found: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            waiting = [json.loads(line)]
        except ValueError as err:
            raise InputFileError(f"{path}, line {number}, is not JSON: {err}") from err
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                found.append(value)
            elif isinstance(value, list | dict):
                waiting.extend(value.values() if isinstance(value, dict) else value)
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as err:
        raise InputFileError(f"{path} cannot be read: {err}", "give a text file in UTF-8") from err


SAMPLE = 200
"""So many texts of a source are looked at to tell its languages."""


def statistics(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Source → rows in, kept and their share; characters and words of the kept; share of each language in a sample."""
    by_source: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    found: dict[str, dict[str, float]] = {}
    for source, mine in sorted(by_source.items()):
        good = kept(mine)
        sample = sorted(good, key=lambda row: row.id)[:SAMPLE]  # ids are hashes: as good as drawn
        languages = Counter(identify(row.text).language for row in sample)
        num_words = sum(len(row.text.split()) for row in good)
        found[source] = {
            "rows": len(mine),
            "kept": len(good),
            "kept_share": round(len(good) / len(mine), 4),
            "chars": sum(len(row.text) for row in good),
            "words": num_words,
            "mean_words": round(num_words / len(good), 1) if good else 0.0,
        } | {f"language {name}": round(number / len(sample), 3) for name, number in languages.most_common(5)}
    return found
