"""CSV and TSV: every physical line ends up in a row or in a reject."""

import csv
from collections.abc import Collection, Iterator

from components.data.readers.encodings import decode, lost_bytes
from components.data.readers.kinds import RawRow, RawTable
from components.errors import InputFileError, MappingError

MAX_CELL_CHARS = 1 << 24
MAX_LINES_PER_ROW = 10_000
"""Of a quoted cell. Each quote that is never closed would otherwise have the rest of the file read."""


def read_delimited(content: bytes, *, name: str, is_tsv: bool, encoding: str | None = None) -> RawTable:
    """A table with a header line. Of CSV the delimiter is the most frequent of `,;|` and tab in that line.

    Raises:
        InputFileError: no text, or no header.
        MappingError: a column that is there twice.
    """
    decoded = decode(content, name=name, encoding=encoding)
    lines = [f"{line}\n" for line in decoded.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    first = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if is_tsv else max(",;\t|", key=lambda mark: (first.count(mark), mark == ","))
    csv.field_size_limit(MAX_CELL_CHARS)
    records = _records(lines, delimiter)
    begin, cells = next(((end, cells) for end, cells in records if cells), (0, "it is empty"))
    if isinstance(cells, str) or lost_bytes("".join(cells)) or "\0" in "".join(cells):
        why = cells if isinstance(cells, str) else "it holds bytes that are no text"
        raise InputFileError(f"{name} has no readable header: {why}", "its first line names the columns")
    header = [column.strip() for column in cells]
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise MappingError(f"{name} has the column {twice[0]!r} more than once", "rename one of them")

    def rows_from(_: Collection[str], mark: int, /) -> Iterator[tuple[int, RawRow]]:
        for number, cells in _records(lines, delimiter, mark or begin):
            if isinstance(cells, str):
                yield number, f"line {number}: {cells}"
            elif wrong := lost_bytes("".join(cells)) or ("a NUL" if "\0" in "".join(cells) else ""):
                yield number, f"line {number} holds {wrong}"
            elif len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            elif cells:
                yield number, f"line {number} has {len(cells)} fields, the header {len(header)}"

    def rows(wanted: Collection[str], /) -> Iterator[RawRow]:
        return (row for _, row in rows_from(wanted, 0))

    return RawTable(header, rows, decoded.encoding, rows_from)


class _Feed:
    """Lines for a csv.reader, which knows where the record that is being read has begun."""

    def __init__(self, lines: list[str], start: int) -> None:
        self.lines, self.start, self.end = lines, start, start

    def __iter__(self) -> Iterator[str]:
        while self.end < min(len(self.lines), self.start + MAX_LINES_PER_ROW):
            self.end += 1
            yield self.lines[self.end - 1]


def _records(lines: list[str], delimiter: str, start: int = 0) -> Iterator[tuple[int, list[str] | str]]:
    """(Number of the last line, cells) of each record; of a broken one (its first line, what is wrong with it).

    After a broken record reading goes on at its second line: a stray quote costs its own line and no other. `start` is
    the number of the line before the first.
    """
    while start < len(lines):
        feed = _Feed(lines, start)
        reader = csv.reader(feed, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                yield feed.end, cells
                feed.start = feed.end
            return
        except csv.Error as err:
            start = feed.start + 1
            yield start, "a quote that is not closed" if "end of data" in str(err) else str(err)
