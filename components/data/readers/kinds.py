"""Which kinds of files are read, and how a name tells the kind."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Protocol

from components.errors import InputFileError

SUFFIXES = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
DOCUMENTS = ("text", "markdown", "html", "pdf")
"""Kinds of which one file is one row, with the columns `DOCUMENT_COLUMNS`; of the others each file is a table."""
DOCUMENT_COLUMNS = ("text", "file", "folder")

RawRow = dict[str, Any] | str
"""A row as column → cell; or what is wrong with it."""


class Rows(Protocol):
    """Gives the rows, with at least the wanted columns."""

    def __call__(self, wanted: Collection[str], /) -> Iterator[RawRow]:
        """Row by row, each good or with what is wrong with it."""
        ...


class RowsFrom(Protocol):
    """Gives the rows from a mark on, without reading what is before it; 0: from the first."""

    def __call__(self, wanted: Collection[str], mark: int, /) -> Iterator[tuple[int, RawRow]]:
        """Row by row, each with the mark behind it."""
        ...


@dataclass(frozen=True)
class RawTable:
    """A file opened: its columns, its rows, and how its bytes were taken for text ('' where they are none)."""

    header: list[str]
    rows: Rows
    encoding: str = ""
    rows_from: RowsFrom | None = None
    """None: a row's mark is its number, and those before it are passed over."""

    def marked(self, wanted: Collection[str], mark: int) -> Iterator[tuple[int, RawRow]]:
        """The rows from a mark on, each with the mark behind it."""
        if self.rows_from is not None:
            yield from self.rows_from(wanted, mark)
        else:
            yield from islice(enumerate(self.rows(wanted), start=1), mark, None)


def kind_of(name: str, *, own: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str]:
    """Kind and compression by the name's suffixes, each '' where it does not say.

    `own` are a task's own formats, by suffix; they count before those that every task reads.
    """
    path = PurePath(name.lower())
    compression = COMPRESSIONS.get(path.suffix, "")
    if compression:
        path = path.with_suffix("")
    for suffix, kind in own.items():
        if path.name.endswith(suffix):
            return kind, compression
    return SUFFIXES.get(path.suffix, ""), compression


def named_kind(name: str, *, said: str | None, own: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str]:
    """Kind and compression; what a person or a server `said` counts before the name.

    Raises:
        InputFileError: neither says it.
    """
    kind, compression = kind_of(name, own=own)
    if not (said or kind):
        kinds = ", ".join(dict.fromkeys([*own, *SUFFIXES]))
        raise InputFileError(
            f"{name} is not of a kind that is read",
            f"kinds are {kinds}, and these with {', '.join(COMPRESSIONS)}; where the name does not say it, give format",
        )
    return said or kind, compression
