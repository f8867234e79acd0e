"""Documents cut into passages, passages into sentences, and texts into the words that they are found by."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.tables import CORPUS, read_split, split_names, table_info, table_names
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


def cut(text: str, *, size: int = PASSAGE_CHARS) -> Iterator[tuple[int, str]]:
    """Start and text of each passage: whole sentences, about `size` characters, never more than twice as many."""
    start = end = 0
    for a, b in sentence_spans(text):
        if end > start and (b - start > size or ("\n\n" in text[end:a] and end - start > size // 2)):
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
                for start, text in cut(row.text):
                    yield Passage(row.document, start, text, row.source, row.licence)


def _documents(rows: "pd.DataFrame", task: str) -> Iterator[Passage]:
    # where several questions share a text, the question is the first line, and no part of the document
    asks = task != CORPUS and not get_task(task).distinct_texts
    names = ["id", "group", "text", "source", "licence"]
    for row_id, group, text, source, licence in rows[names].itertuples(index=False, name=None):
        body = text.partition("\n")[2] if asks else text
        yield Passage(group or row_id, 0, body, source, licence)
