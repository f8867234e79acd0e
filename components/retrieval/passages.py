"""Documents cut into passages, passages into sentences, and texts into the words that they are found by."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.tables import CORPUS, read_split, split_names, table_info, table_names
from components.retrieval.headings import heading_of, headings
from components.tasks import get_task

if TYPE_CHECKING:
    import pandas as pd

PASSAGE_CHARS = 700
"""A passage ends at the first blank line, sentence or line after so many: some 150 tokens, of which a small model can
be given a few beside a question."""

_WORD = re.compile(r"[^\W_]+(?:_+[^\W_]+)*")
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts that put no spaces between words: there every character is a word."""
_DEFINED = re.compile(r"^[ \t]*[-*+]?[ \t]*[`*]*([A-Za-z_][\w.]*(?:, ?[A-Za-z_]\w*)*)[`*]* ?:(?=\s)", re.MULTILINE)
"""`alpha : float`, `timeout: seconds`, `* name: what it is`: parameter lists, keys of a configuration, glossaries."""
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z\"'(`\d])|[。！？]+|\n\s*\n|\n(?=\s*(?:[-*>•]|\w+ ?[:(=]))")
_NOT_AN_END = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|Dr|Mr|Mrs|Fig|Eq|No|al|resp|approx)\.$")


@dataclass(frozen=True)
class Passage:
    """A run of a document's text."""

    document: str
    """The file that it came from; of a row that came from none, its id."""
    start: int
    """Where it begins in the document, in characters."""
    text: str
    source: str = ""
    licence: str = ""
    heading: str = ""
    """What it stands under: the function or class, the title; where there is none, nothing."""

    @property
    def shown(self) -> str:
        """As a model reads it."""
        return f"{self.heading}: {self.text}" if self.heading else self.text


def words(text: str) -> list[str]:
    """What a text is found by: its words, small and without accents; a name of code also by its parts.

    `DiGraph.add_node` gives digraph, di, graph, add_node, add, node; Chinese and Japanese go by characters.
    """
    found: list[str] = []
    for run in _WORD.findall(unicodedata.normalize("NFKC", text)):
        if _WIDE.search(run):
            found += [piece for piece in re.split(f"({_WIDE.pattern})", run) if piece.strip()]
            continue
        plain = run if run.isascii() else _without_marks(run)
        found.append(plain.casefold())
        parts = _PARTS.findall(plain)
        if len(parts) > 1:
            found += [part.casefold() for part in parts if len(part) > 1]
    return found


def _without_marks(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def defined(text: str) -> list[str]:
    """The names that a text's own lines say the meaning of, as a list of parameters does."""
    return [name for names in _DEFINED.findall(text) for name in names.split(",")]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence, or of each line where there is code or a list: they cover all but blanks."""
    spans, start = [], 0
    for end in [*_SENTENCE_END.finditer(text), None]:
        stop = len(text) if end is None else end.start() + (end[0][0] in "。！？")
        if end is not None and _NOT_AN_END.search(text[start:stop]):
            continue
        piece = text[start:stop]
        if piece.strip():
            left = len(piece) - len(piece.lstrip())
            spans.append((start + left, start + len(piece.rstrip())))
        start = stop if end is None else max(stop, end.end())
    return spans


def cut(text: str, *, size: int = PASSAGE_CHARS, breaks: Sequence[int] = ()) -> Iterator[tuple[int, str]]:
    """Start and text of each passage: whole sentences, about `size` characters, never more than twice as many.

    Args:
        breaks: where something else begins, in order: a passage that has some length ends there.
    """
    start = end = 0
    ahead = iter([*breaks, len(text)])
    next_break = next(ahead)
    for a, b in _apart(sentence_spans(text), breaks):
        begins = False
        while next_break <= a and next_break < len(text):
            next_break, begins = next(ahead), True
        is_long = end - start > size // (4 if begins else 2)
        if end > start and (b - start > size or (is_long and (begins or "\n\n" in text[end:a]))):
            yield start, text[start:end]
            start = a
        if end <= start:
            start = a
        end = b
        while end - start > 2 * size:  # a sentence without an end: minified code, a table
            yield start, text[start : start + size]
            start += size
    if end > start:
        yield start, text[start:end]


def _apart(spans: Sequence[tuple[int, int]], breaks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """No span goes over a break."""
    left = list(breaks)
    for a, b in spans:
        while left and left[0] <= a:
            left.pop(0)
        while left and left[0] < b:
            yield a, left[0]
            a = left.pop(0)
        yield a, b


def passages_in(document: Passage) -> Iterator[Passage]:
    """A whole document's passages, each with what it stands under."""
    marks = headings(document.text, document.document)
    for start, text in cut(document.text, breaks=[at for at, _ in marks]):
        yield replace(document, start=start, text=text, heading=heading_of(marks, start, start + len(text)))


def default_tables(version_dir: Path) -> tuple[str, ...]:
    """Tables to look in where none is named: those of plain text, or all where there is none."""
    names = table_names(version_dir)
    plain = tuple(name for name in names if table_info(version_dir, name).task == CORPUS)
    return plain or tuple(names)


def passages_of(version_dir: Path, tables: tuple[str, ...]) -> Iterator[Passage]:
    """Every passage of the tables' texts, each text once.

    Raises:
        MappingError: there is no such table.
    """
    seen: set[tuple[str, str]] = set()
    for table in tables:
        task = table_info(version_dir, table).task
        for split in split_names(version_dir, table):
            for row in _documents(read_split(version_dir, table, split), task):
                if (row.document, row.text) in seen:
                    continue
                seen.add((row.document, row.text))
                yield from passages_in(row)


def _documents(rows: "pd.DataFrame", task: str) -> Iterator[Passage]:
    # where several questions share a text, the question is the first line, and no part of the document
    asks = task != CORPUS and not get_task(task).distinct_texts
    names = ["id", "group", "text", "source", "licence"]
    for row_id, group, text, source, licence in rows[names].itertuples(index=False, name=None):
        body = text.partition("\n")[2] if asks else text
        yield Passage(group or row_id, 0, body, source, licence)
