"""A source opened: its files and their rows, whatever they are of, and what is to be said of them."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.data.readers import parsed
from components.data.readers.columnar import read_arrow, read_parquet, read_saved_dataset
from components.data.readers.compression import decompress
from components.data.readers.database import read_query
from components.data.readers.delimited import read_delimited
from components.data.readers.documents import read_document
from components.data.readers.encodings import decode, lost_bytes
from components.data.readers.json_rows import read_json, read_json_lines
from components.data.readers.kinds import DOCUMENTS, SUFFIXES, RawRow, RawTable
from components.data.readers.locations import Located, locate
from components.errors import InputFileError, MappingError
from components.recipes import FileSource
from components.tasks.base import FileFormat, Task


class InputNote(BaseModel):
    """What was read, and how: it stands in the data version's manifest."""

    model_config = ConfigDict(frozen=True)

    address: str
    """Without user, password and query string."""
    sha256: str
    """Over the files' bytes in order of their names; of a query over its text and its rows."""
    num_files: int
    num_bytes: int
    num_rows: int
    kinds: dict[str, int] = {}
    """Kind of file → files."""
    encodings: dict[str, int] = {}
    """Encoding → files, of those that are text."""
    left_out: dict[str, int] = {}
    """Suffix → files of a folder that are of no kind that is read."""
    names_model: str = ""
    """The model version that names of persons were found by; '' where they were not looked for."""
    models: dict[str, str] = {}
    """What else models were asked for → the version that answered."""


@dataclass
class RawCells:
    """A row, or what is wrong with it; where it is from, and with which others it belongs together."""

    cells: RawRow
    source: str
    group: str = ""


@dataclass(frozen=True)
class OpenedTable:
    """A file of a source; `sha256` is over all that its rows come from, '' where nothing is kept of them."""

    source: str
    name: str
    table: RawTable
    sha256: str
    is_document: bool


@dataclass
class Opened:
    """The files of a source."""

    header: dict[str, None] = field(default_factory=dict)
    tables: list["OpenedTable"] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    """Source and what is wrong, of a folder's files that cannot be read."""
    wanted: set[str] = field(default_factory=set)
    is_one: bool = True
    sha256: Any = field(default_factory=hashlib.sha256)
    num_bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, table: RawTable, *, source: str, name: str, sha256: str, is_document: bool = False) -> None:
        """One more file."""
        self.tables.append(OpenedTable(source, name, table, sha256, is_document))
        self.header.update(dict.fromkeys(table.header))
        if table.encoding:
            self.encodings[table.encoding] += 1

    def rows(self) -> Iterator[RawCells]:
        """Row by row. A file that turns out to be damaged half-way is one bad row more where it is one of many."""
        for one in self.tables:
            try:
                for number, cells in enumerate(one.table.rows(self.wanted), start=1):
                    yield RawCells(cells, one.source, self.group(one, number, is_bad=isinstance(cells, str)))
            except InputFileError as err:
                yield self.damaged(one, err)
        yield from self.unread()

    def group(self, one: "OpenedTable", number: int, *, is_bad: bool) -> str:
        """What a row belongs to: its document; a bad row of a table to where it stands; others to what they say."""
        if one.is_document:
            return one.name if not self.is_one else f"{one.name}#{number:05}"
        return f"{one.source}#{number}" if is_bad else ""

    def damaged(self, one: "OpenedTable", err: InputFileError) -> RawCells:
        """The bad row for a file that turned out to be damaged half-way.

        Raises:
            InputFileError: the same, where it is the only file.
        """
        if self.is_one:
            raise err
        return RawCells(f"the file cannot be read: {err.message}", one.source, one.name)

    def unread(self) -> Iterator[RawCells]:
        """A bad row for each file that could not be opened."""
        for source, wrong in self.broken:
            yield RawCells(f"the file cannot be read: {wrong}", source, source)

    def note(self, recipe: FileSource, *, num_rows: int) -> InputNote:
        """What the manifest is to say of it."""
        return InputNote(
            address=recipe.address,
            sha256=self.sha256.hexdigest(),
            num_files=self.kinds.total(),
            num_bytes=self.num_bytes,
            num_rows=num_rows,
            kinds=dict(sorted(self.kinds.items())),
            encodings=dict(sorted(self.encodings.items())),
            left_out=dict(sorted(self.left_out.items())),
        )


def open_source(recipe: FileSource, *, cache: Path | None, task: Task | None, wanted: set[str]) -> Opened:
    """All files of a source, or its query's result, opened; `wanted` are the columns that will be looked at.

    Raises:
        InputFileError: nothing is there, or nothing of it can be read.
        MappingError: a single file with a column that is there twice.
        SourceUnreachable: an address or a database that does not answer.
    """
    taken = Opened(wanted=wanted)
    if recipe.database is not None:
        assert recipe.query is not None  # the recipe's own check
        how = {"password_env": recipe.password_env, "timeout_seconds": recipe.timeout_seconds}
        table = read_query(recipe.database, recipe.query, **how)  # type: ignore[arg-type]
        taken.sha256.update(recipe.query.encode())
        for row in table.rows(set(table.header)):
            taken.sha256.update(repr(row).encode("utf-8", "surrogatepass"))
        taken.kinds["query"] = 1
        taken.add(table, source=recipe.table, name=recipe.table, sha256=taken.sha256.hexdigest())
        return taken
    formats = {one.name: one for one in (task.formats if task is not None else ())}
    own = {suffix: one.name for one in formats.values() for suffix in one.suffixes}
    found = locate(recipe, cache=cache, own=own)
    taken.is_one, taken.left_out = found.is_one, found.left_out
    for file in found.files:
        is_document = file.kind in DOCUMENTS
        source = (
            (Path(file.name).parent.name or _folder_name(recipe)) if is_document and not found.is_one else file.stem
        )
        taken.kinds[file.kind] += 1
        try:
            content = _content(file, recipe, taken)
            digest = _digest(content, file, recipe) if cache is not None else ""
            table = _table(content, file, recipe, formats, folder=source, cache=cache, digest=digest)
        except (InputFileError, MappingError) as err:
            if found.is_one:
                raise
            taken.broken.append((source, err.message))
            continue
        taken.add(table, source=source, name=file.name, sha256=digest, is_document=is_document)
    if not taken.tables:
        first = taken.broken[0][1] if taken.broken else "it is empty"
        raise InputFileError(f"no file of {recipe.address} can be read; the first: {first}", "look at the files")
    return taken


def _folder_name(recipe: FileSource) -> str:
    name = recipe.path.name if recipe.path is not None else ""
    return name if name and not any(mark in name for mark in "*?[") else recipe.table


def _content(file: Located, recipe: FileSource, taken: Opened) -> bytes:
    try:
        size = file.path.stat().st_size
        if size > recipe.max_bytes:
            raise InputFileError(f"{file.name} has {size} bytes, over the limit", "raise max_bytes if it is meant")
        content = file.path.read_bytes()
    except OSError as err:
        raise InputFileError(f"{file.path} cannot be read: {err.strerror}", "check its rights") from err
    taken.num_bytes += len(content)
    taken.sha256.update(f"{file.name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
    taken.sha256.update(content)
    if file.compression:
        content = decompress(content, file.compression, name=file.name, max_bytes=recipe.max_bytes)
    if not content.strip():
        raise InputFileError(f"{file.name} is empty ({len(content)} bytes)", "give a file with rows")
    return content


def _digest(content: bytes, file: Located, recipe: FileSource) -> str:
    """Over a file, how it is read, and what else its rows are made of."""
    digest = hashlib.sha256(f"{file.kind}\0{recipe.encoding}\0{file.of_dataset}\0".encode())
    if file.of_dataset:  # the labels' names, and the split
        about = file.path.with_name("dataset_info.json")
        digest.update(file.path.parent.name.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(about.read_bytes() + b"\0" if about.is_file() else b"")
    digest.update(content)
    return digest.hexdigest()


def _table(
    content: bytes,
    file: Located,
    recipe: FileSource,
    formats: Mapping[str, FileFormat],
    *,
    folder: str,
    cache: Path | None,
    digest: str,
) -> RawTable:
    name, kind = file.name, file.kind
    if kind in formats:
        decoded = decode(content, name=name, encoding=recipe.encoding)
        found = list(formats[kind].read(decoded.text))
        header = dict.fromkeys(column for row in found if not isinstance(row, str) for column in row)
        return RawTable(list(header), lambda _: iter([_checked(row) for row in found]), decoded.encoding)
    if kind in DOCUMENTS:
        how: dict[str, Any] = {"name": name, "kind": kind, "file": name, "folder": folder}
        how |= {"piece_chars": recipe.piece_chars, "encoding": recipe.encoding}
        return parsed.remembered(lambda: read_document(content, **how), content, cache=cache, how=how)
    if kind in {"csv", "tsv"}:
        return read_delimited(content, name=name, is_tsv=kind == "tsv", encoding=recipe.encoding)
    if kind == "parquet":
        return read_parquet(content, name=name)
    if kind == "arrow":
        return (
            read_saved_dataset(content, name=name, folder=file.path.parent)
            if file.of_dataset
            else read_arrow(content, name=name)
        )
    if kind not in {"json", "jsonl"}:
        kinds = ", ".join(sorted({*SUFFIXES.values(), *formats}))
        raise InputFileError(f"there is no format {kind!r} for task {recipe.task}", f"formats are {kinds}")
    if kind == "json":
        return read_json(content, name=name, encoding=recipe.encoding)
    seen = parsed.Portions(cache, {"json lines": digest})
    table = read_json_lines(content, name=name, encoding=recipe.encoding, header=seen.get("header"))
    if content.count(b"\n") >= parsed.PORTION_ROWS:
        seen.keep("header", table.header)
    return table


def _checked(row: Mapping[str, Any] | str) -> RawRow:
    if isinstance(row, str):
        return row
    wrong = next((lost for cell in row.values() if isinstance(cell, str) and (lost := lost_bytes(cell))), "")
    return f"it holds {wrong}" if wrong else dict(row)
