"""The raw documents of a corpus, cut into parts of about equal size that can be read one by one, in any order.

How they are cut changes nothing of what is read: a document is known by its file and its place in it (the byte that
its line begins with, or its row's number).
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from components.data.readers.kinds import DOCUMENTS, RawRow
from components.data.readers.locations import Located, locate
from components.data.readers.opening import open_source
from components.data.tables import CORPUS
from components.errors import BanyanError, InputFileError
from components.recipes import FileSource, Pack

PART_BYTES = 16 << 20
"""A part keeps one core busy for some seconds, and 200 MB give a dozen of them."""
MAX_LINE_BYTES = 32 << 20
"""A longer line is one rejected row, read past in pieces."""
MAX_WHOLE_BYTES = 256 << 20
"""Of kinds that are read whole (text, HTML, PDF, CSV, Arrow …); JSON lines and Parquet are streamed."""
ROWS_AT_ONCE = 256
MAX_FETCHED_BYTES = 1 << 44
"""Of an address: the disk is the limit."""


class Piece(NamedTuple):
    """A file, or a stretch of it: bytes of JSON lines, row groups of Parquet. `end` −1: the whole file."""

    path: str
    name: str
    kind: str
    compression: str
    source: str
    start: int
    end: int


@dataclass(frozen=True)
class Part:
    """What one worker reads at a time. Parts follow each other as the documents do."""

    number: int
    pieces: tuple[Piece, ...]
    num_bytes: int


class Raw(NamedTuple):
    """A document as it was found: its cells, or what is wrong with it."""

    file: str
    position: int
    cells: RawRow
    source: str


def find_files(recipe: Pack, *, cache: Path | None = None) -> list[Located]:
    """Every file that a recipe's inputs name, each once, in order of inputs and names; from addresses into `cache`.

    Raises:
        InputFileError: an input is not there, or is of no kind that is read; an address, and no cache.
        SourceUnreachable: an address does not answer.
    """
    found: dict[Path, Located] = {}
    for name in recipe.inputs:
        for file in locate(_source(name, recipe), cache=cache, own={}).files:
            if is_address(name):
                file = _named(file)
            found.setdefault(file.path.absolute(), file)
    return list(found.values())


def is_address(name: str) -> bool:
    """Whether an input is not on this machine."""
    return re.match(r"(https?|s3)://", name) is not None


def _named(file: Located) -> Located:
    """A downloaded file under its own name, which says how it is compressed."""
    link = file.path.with_name("named") / Path(file.name).name
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(Path("..") / file.path.name)
    return replace(file, path=link)


def cut(files: Sequence[Located], *, part_bytes: int = PART_BYTES) -> list[Part]:
    """The files as parts of about `part_bytes`: large JSON lines and Parquet are cut, small files are put together."""
    parts: list[Part] = []
    waiting: list[Piece] = []
    size = 0
    for file in files:
        for piece, num_bytes in _pieces(file, part_bytes):
            waiting.append(piece)
            size += num_bytes
            if size >= part_bytes:
                parts.append(Part(len(parts), tuple(waiting), size))
                waiting, size = [], 0
    if waiting:
        parts.append(Part(len(parts), tuple(waiting), size))
    return parts


def read(part: Part, recipe: Pack) -> Iterator[Raw]:
    """The documents of a part in order; what cannot be read is a row that says so."""
    wanted = {recipe.columns.get(ours, ours) for ours in ("text", "source", "group")}
    for piece in part.pieces:
        try:
            for position, cells, source in _rows(piece, wanted):
                yield Raw(piece.name, position, cells, source or piece.source)
        except (BanyanError, OSError) as err:
            yield Raw(piece.name, max(piece.start, 0), f"the file cannot be read: {err}", piece.source)


# ---------------------------------------------------------------- cutting


def _source(name: str, recipe: Pack) -> FileSource:
    return FileSource(
        path=None if is_address(name) else Path(name),
        url=name if is_address(name) else None,
        max_bytes=MAX_FETCHED_BYTES,
        table="pack",
        task=CORPUS,
        format=recipe.format,
        columns={str(ours): theirs for ours, theirs in recipe.columns.items()},
    )


def _pieces(file: Located, part_bytes: int) -> Iterator[tuple[Piece, int]]:
    source = (Path(file.name).parent.name or _folder_of(file)) if file.kind in DOCUMENTS else file.stem
    name = file.name.encode("utf-8", "backslashreplace").decode()  # a name that is no text can still be opened
    whole = Piece(str(file.path.absolute()), name, file.kind, file.compression, source, 0, -1)
    size = file.path.stat().st_size
    if file.kind == "jsonl" and not file.compression and not _is_utf16(file.path):
        for start in range(0, max(size, 1), part_bytes):
            end = min(start + part_bytes, size)
            yield whole._replace(start=start, end=end), end - start
    elif file.kind == "parquet" and not file.compression and (groups := _row_group_bytes(file.path)):
        for number, num_bytes in enumerate(groups):
            yield whole._replace(start=number, end=number + 1), num_bytes
    else:
        yield whole, size * (3 if file.compression else 1)


def _folder_of(file: Located) -> str:
    """The folder's name; a file that was fetched alone has none, and is its own source."""
    return file.stem if file.path.is_symlink() and file.path.parent.name == "named" else file.path.parent.name


def _is_utf16(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(2) in {b"\xff\xfe", b"\xfe\xff"}


def _row_group_bytes(path: Path) -> list[int]:
    """Bytes of each row group, unpacked; none where the file is damaged: reading it will say how."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return []
    return [found.row_group(number).total_byte_size for number in range(found.num_row_groups)]


# ---------------------------------------------------------------- reading


def _rows(piece: Piece, wanted: set[str]) -> Iterator[tuple[int, RawRow, str]]:
    if piece.kind == "jsonl" and (piece.compression or piece.end >= 0):
        with _opened(piece) as opened:
            for position, row in _json_lines(opened, piece.start, piece.end):
                yield position, row, ""
    elif piece.kind == "parquet" and piece.end >= 0:
        for position, row in _row_groups(piece, wanted):
            yield position, row, ""
    else:
        size = Path(piece.path).stat().st_size
        if size > MAX_WHOLE_BYTES:
            raise InputFileError(
                f"{piece.name} has {size} bytes and a kind that is read whole", "make it JSON lines or Parquet"
            )
        source = FileSource(
            path=Path(piece.path), table="pack", task=CORPUS, format=piece.kind, max_bytes=MAX_WHOLE_BYTES
        )
        opened_source = open_source(source, cache=None, task=None, wanted=wanted)
        for number, taken in enumerate(opened_source.rows()):
            yield number, taken.cells, piece.source


def _opened(piece: Piece) -> IO[bytes]:
    import pyarrow as pa

    if not piece.compression:
        return Path(piece.path).open("rb", buffering=1 << 20)
    stream = pa.input_stream(piece.path, compression=piece.compression)
    return io.BufferedReader(stream, 1 << 20)


def _json_lines(opened: IO[bytes], start: int, end: int) -> Iterator[tuple[int, RawRow]]:
    """The lines that begin at `start` or later and before `end` (−1: all), blank ones left out."""
    position = start
    if start > 0:
        opened.seek(start - 1)
        position = start - 1 + _skip_line(opened)
    while end < 0 or position < end:
        line = opened.readline(MAX_LINE_BYTES)
        if not line:
            return
        length = len(line)
        too_long = length == MAX_LINE_BYTES and not line.endswith(b"\n")
        if too_long:
            length += _skip_line(opened)
        if position == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if too_long:
            yield position, f"a line of {length} bytes"
        elif line.strip():
            yield position, _parsed(line)
        position += length


def _skip_line(opened: IO[bytes]) -> int:
    """Bytes to the end of the line."""
    length = 0
    while line := opened.readline(1 << 20):
        length += len(line)
        if line.endswith(b"\n"):
            break
    return length


def _parsed(line: bytes) -> RawRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as err:
        return f"not JSON: {err}"
    return row if isinstance(row, dict) else f"not a JSON object but a {type(row).__name__}"


def _row_groups(piece: Piece, wanted: set[str]) -> Iterator[tuple[int, RawRow]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(piece.path, buffer_size=1 << 20, pre_buffer=False) as file:
            position = sum(file.metadata.row_group(number).num_rows for number in range(piece.start))
            columns = [name for name in file.schema_arrow.names if name in wanted]
            groups = list(range(piece.start, piece.end))
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=groups, columns=columns):
                for row in batch.to_pylist():
                    yield position, row
                    position += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        raise InputFileError(f"{piece.name}, row groups {piece.start} to {piece.end}: {err}") from err


def text_of(cell: Any) -> str:
    """A cell as text; '' where there is none.

    Raises:
        ValueError: bytes that are no UTF-8, or a value that is no text.
    """
    if cell is None or cell != cell:  # NaN
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bytes | bytearray):
        return bytes(cell).decode("utf-8")
    if isinstance(cell, dict | list):
        raise ValueError(f"a {type(cell).__name__} where a text should be")
    return str(cell)
