"""A table of the user's own: one CSV, JSONL or Parquet file, read row by row; bad rows are kept with their reason."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.cleaning import MALFORMED, UNKNOWN_LABEL, Row, clean_code, clean_prose
from components.data.missing import handle_missing
from components.data.tables import TARGET_COLUMN, columns
from components.errors import InputFileError, MappingError
from components.recipes import FileSource

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
OPTIONAL = ("source", "licence", "group")
"""Columns that a file may bring; otherwise its name, the recipe's licence, and each row its own group."""

RawRow = dict[str, Any] | str
"""A row as column → cell; or what is wrong with it."""


def read_file(recipe: FileSource, *, max_chars: int) -> tuple[list[Row], int]:
    """The file's rows, and how many texts were shortened to `max_chars`.

    Raises:
        InputFileError: missing, empty, unreadable, truncated, or of a kind we do not read.
        MappingError: a column that the file or the task does not have.
    """
    path = recipe.path
    answer_column = TARGET_COLUMN.get(recipe.task, "")
    known = columns(recipe.task)  # raises for an unknown task
    for ours in recipe.columns:
        if ours not in {"text", answer_column, *OPTIONAL} - {""}:
            usable = [name for name in ("text", answer_column, *OPTIONAL) if name in known]
            raise MappingError(f"{ours!r} is no column of task {recipe.task}", f"map these: {', '.join(usable)}")
    header, raw_rows = _open(path)
    theirs = {ours: recipe.columns.get(ours, ours) for ours in ("text", answer_column, *OPTIONAL) if ours}
    for ours, column in theirs.items():
        required = ours in {"text", answer_column} or ours in recipe.columns
        if required and column not in header:
            raise MappingError(
                f"{path} has no column {column!r} for {ours}; its columns are: {', '.join(header)}",
                f"name the right one in the recipe's columns, e.g. {ours}: {header[0]}",
            )
    rows: list[Row] = []
    num_shortened = 0
    for number, raw in enumerate(raw_rows, start=1):
        if isinstance(raw, str):
            rows.append(Row("", "", path.stem, recipe.licence, f"{path.stem}#{number}", reason=f"{MALFORMED}: {raw}"))
            continue
        cells = {ours: _text(raw.get(column)) for ours, column in theirs.items()}
        text = clean_code(cells["text"]) if recipe.task != "classification" else clean_prose(cells["text"])
        if len(text) > max_chars and recipe.task != "corpus":
            text = text[:max_chars].rsplit(None, 1)[0] if " " in text[:max_chars] else text[:max_chars]
            num_shortened += 1
        answer = clean_prose(cells[answer_column]) if answer_column else ""
        row = Row(text, answer, path.stem, recipe.licence, "", origin="file")
        row.source = clean_prose(cells.get("source", "")) or ("" if "source" in recipe.missing else row.source)
        row.licence = clean_prose(cells.get("licence", "")) or ("" if "licence" in recipe.missing else row.licence)
        row.group = clean_prose(cells.get("group", ""))
        rows.append(row)
    if not rows:
        raise InputFileError(f"{path} has a header and no rows", "give a file with at least a few rows of each label")
    policies = {("answer" if name == answer_column else name): policy for name, policy in recipe.missing.items()}
    if not answer_column:
        policies.setdefault("answer", "constant")  # a corpus has no answers
    handle_missing(rows, policies)
    for row in rows:
        if not answer_column:
            row.answer, row.imputed = "", row.imputed.replace("answer", "").strip(",")
        elif recipe.labels and not row.reason and row.answer not in recipe.labels:
            row.reason = f"{UNKNOWN_LABEL}: {row.answer[:40]}"
        if answer_column:
            row.imputed = ",".join(
                answer_column if name == "answer" else name for name in row.imputed.split(",") if name
            )
    if all(row.reason for row in rows):
        raise InputFileError(f"no row of {path} can be used; the first: {rows[0].reason}", "look at the mapping")
    return rows, num_shortened


def _text(cell: Any) -> str:
    """A cell as text. Whole floats lose their `.0`: a label column with a gap is read as float from Parquet."""
    if cell is None or cell != cell:  # NaN
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return (
        cell
        if isinstance(cell, str)
        else json.dumps(cell, ensure_ascii=False)
        if isinstance(cell, dict | list)
        else str(cell)
    )


# ---------------------------------------------------------------- formats


def _open(path: Path) -> tuple[list[str], Iterator[RawRow]]:
    """Column names and rows."""
    if path.is_dir():
        raise InputFileError(f"{path} is a folder, not a file", "give one file")
    if not path.exists():
        raise InputFileError(f"there is no file {path}", "check the path")
    if path.suffix.lower() not in FORMATS:
        raise InputFileError(f"{path} is not of a kind that is read", f"kinds are {', '.join(FORMATS)}")
    try:
        content = path.read_bytes()
    except OSError as err:
        raise InputFileError(f"{path} cannot be read: {err.strerror}") from err
    if not content.strip():
        raise InputFileError(f"{path} is empty ({len(content)} bytes)", "give a file with rows")
    if path.suffix.lower() == ".parquet":
        return _parquet(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InputFileError(
            f"{path} is not UTF-8: byte 0x{content[err.start]:02x} at offset {err.start}",
            f"convert it, e.g. iconv -f LATIN1 -t UTF-8 {path.name} > utf8-{path.name}",
        ) from err
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return _jsonl(path, text)
    return _csv(path, text)


def _csv(path: Path, text: str) -> tuple[list[str], Iterator[RawRow]]:
    if "\0" in text:
        raise InputFileError(f"{path} holds a NUL at character {text.index(chr(0))}: not a text table")
    first = text.lstrip().split("\n", 1)[0]
    delimiter = (
        "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=lambda mark: (first.count(mark), mark == ","))
    )
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(row for row in reader if row)]
    except (StopIteration, csv.Error) as err:
        raise InputFileError(f"{path} has no readable header: {err}") from err
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise MappingError(f"{path} has the column {twice[0]!r} more than once", "rename one of them")

    def rows() -> Iterator[RawRow]:
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as err:
                yield f"line {reader.line_num}: {err}"
                continue
            if len(cells) == len(header):
                yield dict(zip(header, cells, strict=True))
            elif cells:
                yield f"line {reader.line_num} has {len(cells)} fields, the header {len(header)}"

    return header, rows()


def _jsonl(path: Path, text: str) -> tuple[list[str], Iterator[RawRow]]:
    parsed: list[RawRow] = []
    header: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as err:
            value = f"line {number} is not JSON: {err}"
        if not isinstance(value, dict | str) or (
            isinstance(value, str) and not value.startswith(f"line {number} is not")
        ):
            value = f"line {number} is not a JSON object"
        parsed.append(value)
        if isinstance(value, dict):
            header.update(dict.fromkeys(value))
    if not header:
        remedy = 'write one object a line: {"text": "…", "label": "…"}'
        raise InputFileError(f"{path} holds no JSON object: {parsed[0]}", remedy)
    return list(header), iter(parsed)


def _parquet(path: Path, content: bytes) -> tuple[list[str], Iterator[RawRow]]:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as err:
        whole = content[:4] == b"PAR1" and content[-4:] == b"PAR1"
        what = "is damaged" if whole else "is truncated, or not Parquet"
        raise InputFileError(f"{path} {what} ({len(content)} bytes): {err}", "write or copy it again") from err
    return table.column_names, iter(table.to_pylist())
