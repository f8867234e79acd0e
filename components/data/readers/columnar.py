"""Parquet, Arrow IPC, and folders that Hugging Face `datasets` saved: columns to rows, never by unpickling."""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from components.data.readers.kinds import RawRow, RawTable
from components.errors import InputFileError, MappingError

_BATCH_ROWS = 1 << 16
_DAMAGE = (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError)
"""What pyarrow 25 raises on damaged files: a huge length in a footer is a MemoryError."""
_AGAIN = "write or copy it again"


def read_parquet(content: bytes, *, name: str) -> RawTable:
    """The rows of a Parquet file; only the wanted columns are decoded.

    Raises:
        InputFileError: truncated, damaged, or not Parquet.
        MappingError: a column that is there twice.
    """
    try:
        names = pq.read_schema(pa.BufferReader(content)).names
    except _DAMAGE as err:
        whole = content[:4] == b"PAR1" and content[-4:] == b"PAR1"
        what = "is damaged" if whole else "is truncated, or not Parquet"
        raise InputFileError(f"{name} {what} ({len(content)} bytes): {err}", _AGAIN) from err
    _check_names(names, name)

    def rows_from(wanted: Collection[str], mark: int, /) -> Iterator[tuple[int, RawRow]]:
        there = [column for column in names if column in wanted]
        # `columns` takes dotted paths; a name with a dot in it would be read as one
        columns = None if "." in "".join(there) else there
        try:
            if mark == 0:
                table, first = pq.read_table(pa.BufferReader(content), columns=columns), 0
            else:  # what was given before was only given because the whole of it could be read
                table, first = _row_groups_from(content, mark, columns)
            rest = table.select(there).slice(mark - first)
            yield from enumerate(table_rows(rest, first=mark), start=mark + 1)
        except _DAMAGE as err:
            raise InputFileError(f"{name} is damaged ({len(content)} bytes): {err}", _AGAIN) from err

    def rows(wanted: Collection[str], /) -> Iterator[RawRow]:
        return (row for _, row in rows_from(wanted, 0))

    return RawTable(names, rows, rows_from=rows_from)


def _row_groups_from(content: bytes, row: int, columns: list[str] | None) -> tuple[pa.Table, int]:
    """The row groups from that on which has the row, and the number of their first row."""
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        first, group = 0, 0
        while group < file.num_row_groups and first + file.metadata.row_group(group).num_rows <= row:
            first += file.metadata.row_group(group).num_rows
            group += 1
        return file.read_row_groups(list(range(group, file.num_row_groups)), columns=columns), first


def read_arrow(content: bytes, *, name: str) -> RawTable:
    """The rows of an Arrow IPC file or stream (Feather version 2 is such a file).

    Raises:
        InputFileError: truncated, damaged, or not Arrow.
        MappingError: a column that is there twice.
    """
    table, names = _arrow(content, name)
    _check_names(names, name)

    def rows(wanted: Collection[str], /) -> Iterator[RawRow]:
        try:
            yield from table_rows(table.select([column for column in names if column in wanted]))
        except _DAMAGE as err:
            raise InputFileError(f"{name} is damaged ({len(content)} bytes): {err}", _AGAIN) from err

    return RawTable(names, rows)


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` saved this folder: a dataset, or a dictionary of them."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def saved_dataset_files(folder: Path) -> list[Path]:
    """The Arrow files of a saved dataset, of all its splits, in order.

    Raises:
        InputFileError: its lists of files are damaged, or name a file that is not there.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = _listed(folder / "dataset_dict.json", "splits")
        return [path for split in splits for path in saved_dataset_files(_inside(folder, str(split)))]
    entries = _listed(folder / "state.json", "_data_files")
    return [_inside(folder, str(entry.get("filename", ""))) for entry in entries if isinstance(entry, dict)]


def read_saved_dataset(content: bytes, *, name: str, folder: Path) -> RawTable:
    """One Arrow file of a saved dataset; class labels by their names, and the split that it was in as `split`.

    Raises:
        InputFileError: truncated, damaged, or not Arrow.
        MappingError: a column that is there twice.
    """
    raw = read_arrow(content, name=name)
    names = _class_names(folder / "dataset_info.json")
    header = raw.header if "split" in raw.header else [*raw.header, "split"]

    def rows(wanted: Collection[str], /) -> Iterator[RawRow]:
        for row in raw.rows(wanted):
            if isinstance(row, str):
                yield row
                continue
            for column, labels in names.items():
                number = row.get(column)
                if isinstance(number, int) and number < len(labels):
                    row[column] = labels[number] if number >= 0 else None  # -1: not labelled
            yield {"split": folder.name} | row

    return RawTable(header, rows)


def table_rows(table: pa.Table, *, first: int = 0) -> Iterator[RawRow]:
    """Row by row; a row with a cell that is no value of its column's type is a bad one. `first`: rows before these.

    Raises:
        pa.ArrowInvalid: offsets that lead out of a buffer.
    """
    number = first
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        if not batch.num_columns:
            yield from ({} for _ in range(batch.num_rows))
            continue
        columns = [_cells(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            number += 1
            broken = next((cell for cell in cells if isinstance(cell, _Broken)), None)
            yield f"row {number}: {broken.why}" if broken else dict(zip(batch.schema.names, cells, strict=True))


class _Broken:
    def __init__(self, why: str) -> None:
        self.why = why


def _cells(column: pa.Array) -> Sequence[Any]:
    if pa.types.is_dictionary(column.type):
        column.validate(full=True)
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        column = column.view(pa.binary())  # checked cell by cell: Arrow's own check refuses the whole column
    elif pa.types.is_large_string(column.type):
        column = column.view(pa.large_binary())
    column.validate(full=True)  # else a damaged offset reads whatever memory is there
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [_decoded(cell) for cell in column.to_pylist()]
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):  # a date beyond year 9999, text in a list that is none
        return [_cell(cell) for cell in column]


def _decoded(cell: bytes | None) -> Any:
    try:
        return None if cell is None else cell.decode("utf-8")
    except UnicodeDecodeError as err:
        return _Broken(f"byte 0x{err.object[err.start]:02x} at offset {err.start} of a cell is no text")


def _cell(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError, pa.ArrowException) as err:
        return _Broken(str(err))


def _arrow(content: bytes, name: str) -> tuple[pa.Table, list[str]]:
    try:
        source = pa.BufferReader(content)
        with pa.ipc.open_file(source) if content[:6] == b"ARROW1" else pa.ipc.open_stream(source) as reader:
            table = reader.read_all()
        return table, table.column_names  # a damaged name shows when it is asked for
    except _DAMAGE as err:
        remedy = "write it as Feather version 2" if content[:4] == b"FEA1" else _AGAIN
        raise InputFileError(
            f"{name} is damaged, truncated or not Arrow ({len(content)} bytes): {err}", remedy
        ) from err


def _check_names(names: Sequence[str], name: str) -> None:
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise MappingError(f"{name} has the column {twice[0]!r} more than once", "rename one of them")


def _listed(path: Path, field: str) -> list[Any]:
    try:
        found = json.loads(path.read_text("utf-8"))[field]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise InputFileError(f"{path} is no list of a saved dataset's {field}: {err}", "save it again") from err
    if not isinstance(found, list) or not found:
        raise InputFileError(f"{path} names no {field}", "save it again")
    return found


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not name or Path(name).name != name or not path.exists():
        raise InputFileError(f"{folder} lacks {name!r}, which it names as its own", "save or copy it again")
    return path


def _class_names(path: Path) -> dict[str, list[str]]:
    try:
        features = json.loads(path.read_text("utf-8")).get("features") or {}
        return {
            column: [str(label) for label in about["names"]]
            for column, about in features.items()
            if isinstance(about, dict) and about.get("_type") == "ClassLabel" and isinstance(about.get("names"), list)
        }
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}  # the numbers are labels as well
