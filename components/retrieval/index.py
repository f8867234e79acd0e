"""A local index of a data version's documents: BM25 by SQLite's own full-text search, one file a version."""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import DataStoreError, UsageError
from components.retrieval.passages import Passage, default_tables, defined, passages_of, words

if TYPE_CHECKING:
    from components.settings import Settings

SCHEMA = 2
"""Of the files; one of another number is built anew."""
MAX_QUERY_WORDS = 64
ABOUT_WEIGHT = 4.0
"""Of a word in a passage's heading, or that the passage defines, beside one in its text. Chosen on questions about the
files that `dialogue` is trained on: at 2 the right passage is among the first four in 0.86, at 4 in 0.90
(docs/benchmarks.md)."""


@dataclass(frozen=True)
class Found:
    """A passage that was found, and how well it fits: larger is better, and nothing but the order has a meaning."""

    passage: Passage
    score: float
    number: int
    """Of the passage in its index."""


class Index:
    """An index file, opened for reading; it may be read from several threads, each by its own connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def search(self, query: str, *, most: int = 10) -> list[Found]:
        """The passages that fit the query's words best by BM25 (Robertson and Zaragoza 2009), best first.

        Any of the words may be there; a query without a word finds nothing.

        Raises:
            DataStoreError: the file is damaged.
        """
        asked = list(dict.fromkeys(words(query)))[:MAX_QUERY_WORDS]
        if not asked or most < 1:
            return []
        match = " OR ".join('"{}"'.format(word.replace('"', '""')) for word in asked)
        found = self._rows(
            "SELECT p.number, p.document, p.start, p.text, p.source, p.licence, p.heading, "
            "-bm25(terms, 1.0, ?) AS score FROM terms JOIN passages p ON p.number = terms.rowid WHERE terms MATCH ? "
            "ORDER BY score DESC, p.number LIMIT ?",
            (ABOUT_WEIGHT, match, most),
        )
        return [Found(Passage(*of), score, n) for n, *of, score in found]

    def of_document(self, document: str) -> list[Found]:
        """A document's passages in their order."""
        found = self._rows(
            "SELECT number, document, start, text, source, licence, heading FROM passages WHERE document = ? "
            "ORDER BY number",
            (document,),
        )
        return [Found(Passage(*of), 0.0, n) for n, *of in found]

    def counts(self) -> tuple[int, int]:
        """Documents and passages."""
        [(documents, passages)] = self._rows("SELECT count(DISTINCT document), count(*) FROM passages", ())
        return documents, passages

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.Error as err:
            raise DataStoreError(f"the index {self.path} cannot be read: {err}", "delete it: it is built anew") from err


def folder_of(settings: "Settings") -> Path:
    """Where the workspace's indexes lie."""
    return settings.workspace.root / "indexes"


def index_of(settings: "Settings", *, tables: tuple[str, ...] = (), version: str = "") -> Index:
    """The index of a data version's tables (default: the current one's plain texts), built if there is none yet.

    Raises:
        UsageError: there is no data version, or nothing in the tables to look in.
        MappingError: the version has no such table.
        DataStoreError: the version or the file cannot be read.
    """
    from components.data import manifests, versioning

    ref = manifests.manifest(version, settings=settings).ref if version else manifests.head(settings)
    if ref is None:
        raise UsageError("there is no data version yet", "first: banyan ingest WHAT --task T")
    version_dir = versioning.path_of(ref, settings)
    names = tables or default_tables(version_dir)
    key = hashlib.sha256("\0".join((str(SCHEMA), *names)).encode()).hexdigest()[:8]
    path = folder_of(settings) / f"{ref.version}-{key}.sqlite"
    if not path.is_file():
        build(passages_of(version_dir, names), path)
        _forget_removed(settings)
    return Index(path)


def build(passages: Iterator[Passage], path: Path) -> Index:
    """An index file of the passages: written beside and renamed, so that nobody reads half of one.

    Raises:
        UsageError: there is no passage.
        DataStoreError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(beside)) as database, database:
            database.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                "CREATE TABLE passages (number INTEGER PRIMARY KEY, document TEXT NOT NULL, start INTEGER NOT NULL,"
                " text TEXT NOT NULL, source TEXT NOT NULL, licence TEXT NOT NULL,"
                " heading TEXT NOT NULL);"
                "CREATE VIRTUAL TABLE terms"
                " USING fts5(words, about, content='', tokenize=\"porter unicode61 tokenchars '_'\");"
            )
            number = 0
            for number, one in enumerate(passages, start=1):
                row = (number, one.document, one.start, one.text, one.source, one.licence, one.heading)
                database.execute("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                # the document's name says what it is about, where it is a path; the heading and what it defines do so
                # more than its text
                about = dict.fromkeys([*words(one.heading), *words(" ".join(defined(one.text)))])
                database.execute(
                    "INSERT INTO terms (rowid, words, about) VALUES (?, ?, ?)",
                    (number, " ".join([*words(one.text), *words(one.document)]), " ".join(about)),
                )
            if not number:
                raise UsageError("there is no text to look in", "ingest some: banyan ingest WHAT --task T")
            database.execute("CREATE INDEX by_document ON passages (document)")
        beside.replace(path)
    except (sqlite3.Error, OSError) as err:
        raise DataStoreError(f"cannot write the index {path}: {err}", "see that there is room on the disk") from err
    finally:
        beside.unlink(missing_ok=True)
    return Index(path)


def _forget_removed(settings: "Settings") -> None:
    """Texts of a version that was removed must not live on in its index."""
    there = {path.stem for path in (settings.workspace.data / "manifests").glob("*.json")}
    for path in folder_of(settings).glob("*.sqlite"):
        if path.stem.partition("-")[0] not in there:
            path.unlink(missing_ok=True)
