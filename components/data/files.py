"""A source of the user's own, read row by row; bad rows are kept with their reason."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from components.data.asking import AskedModels
from components.data.cleaning import (
    MALFORMED,
    MISFIT,
    UNKNOWN_LABEL,
    Row,
    clean_code,
    clean_json,
    clean_prose,
    kept,
)
from components.data.missing import handle_missing
from components.data.readers import parsed
from components.data.readers.kinds import RawRow
from components.data.readers.opening import InputNote, Opened, OpenedTable, open_source
from components.data.tables import CORPUS, columns
from components.errors import InputFileError, MappingError
from components.recipes import FileSource
from components.tasks import get_task
from components.tasks.base import Task, column_type

REFERENCES = " references"
"""Among a row's cells: no column is called so."""
OPTIONAL = ("source", "licence", "group")
"""Columns that a file may bring; otherwise its name, the recipe's licence, and each row its own group."""


class Reading(NamedTuple):
    """A source's rows, good and rejected; how many texts were shortened; and how it was read."""

    rows: list[Row]
    num_shortened: int
    note: InputNote


def read_file(
    recipe: FileSource, *, max_chars: int, cache: Path | None = None, models: AskedModels | None = None
) -> Reading:
    """All rows of a source; texts are shortened to `max_chars`, but for a corpus. Addresses are fetched into `cache`.

    `models` are asked where the recipe fills in by a model.

    Where a single file was asked for, its being unreadable is an error; of a folder's files it is a rejected row.

    Raises:
        InputFileError: missing, empty, unreadable, truncated, or of a kind we do not read.
        MappingError: a column that the file or the task does not have.
        SourceUnreachable: an address or a database that does not answer.
    """
    task = None if recipe.task == CORPUS else get_task(recipe.task)  # raises for an unknown task
    own = ("text",) if task is None else task.columns
    parts = () if task is None else task.parts
    answer_column = "" if task is None else own[1]
    usable = [*own, *parts, *(name for name in OPTIONAL if name in columns(recipe.task))]
    for ours in recipe.columns:
        if ours not in usable:
            raise MappingError(f"{ours!r} is no column of task {recipe.task}", f"map these: {', '.join(usable)}")
    theirs = {ours: recipe.columns.get(ours, ours) for ours in usable}
    taken = open_source(recipe, cache=cache, task=task, wanted=set(theirs.values()))
    is_joined = bool(parts) and theirs["text"] not in taken.header
    for ours, column in theirs.items():
        required = ours == answer_column or ours in recipe.columns or ours in (parts if is_joined else ("text",))
        if required and column not in taken.header:
            raise MappingError(
                f"{recipe.address} has no column {column!r} for {ours}; its columns are: {', '.join(taken.header)}",
                f"name the right one: --columns {ours}={next(iter(taken.header), 'text')}, or in a recipe's columns",
            )
    rows: list[Row] = []
    num_shortened = 0
    for cells, source, group in _cleaned(taken, theirs, task, cache):
        row = Row("", "", source, recipe.licence, group, origin="file")
        rows.append(row)
        if isinstance(cells, str):
            row.reason = f"{MALFORMED}: {cells}"
            continue
        if is_joined and task is not None:
            filled = all(cells[name] for name in parts)
            cells["text"] = _plain(task.join(cells), "text", task) if filled else ""
        row.text, row.answer = cells["text"], cells.get(answer_column, "")
        if len(row.text) > max_chars and task is not None:
            start = row.text[:max_chars]
            row.text = start.rsplit(None, 1)[0] if " " in start else start
            num_shortened += 1
        row.more = {name: cells[name] for name in own[2:]}
        row.references = tuple(json.loads(cells.get(REFERENCES, "[]")))
        row.source = cells.get("source", "") or ("" if "source" in recipe.missing else row.source)
        row.licence = cells.get("licence", "") or ("" if "licence" in recipe.missing else row.licence)
        row.group = cells.get("group", "") or row.group
    if not rows:
        where = recipe.address
        raise InputFileError(f"{where} has a header and no rows", "give a file with at least a few rows of each label")
    _fill(rows, recipe, answer_column, models)
    for row in kept(rows):
        if task is not None:
            fit_row(row, task)
        if answer_column and recipe.labels and not row.reason and row.answer not in recipe.labels:
            row.reason = f"{UNKNOWN_LABEL}: {row.answer[:40]}"
    if all(row.reason for row in rows):
        raise InputFileError(
            f"no row of {recipe.address} can be used; the first: {rows[0].reason}", "look at the mapping"
        )
    return Reading(rows, num_shortened, taken.note(recipe, num_rows=len(rows)))


def fit_row(row: Row, task: Task) -> None:
    """The row's answer as its column holds it, fitted to its text; or the reason for which it cannot be."""
    try:
        row.answer = task.fit(row.text, row.answer)
    except ValueError as err:
        row.reason = f"{MISFIT}: {err}"


def _fill(rows: Sequence[Row], recipe: FileSource, answer_column: str, models: AskedModels | None) -> None:
    policies = {("answer" if name == answer_column else name): policy for name, policy in recipe.missing.items()}
    if not answer_column:
        policies.setdefault("answer", "constant")  # a corpus has no answers
    has_names = not answer_column or column_type(get_task(recipe.task), answer_column) == "label"
    handle_missing(
        rows,
        policies,
        closed={"answer"} if has_names else set(),
        models=models,
        answer_task=recipe.task,
        answer_column=answer_column,
    )
    for row in rows:
        if not answer_column:
            row.answer, row.imputed = "", row.imputed.replace("answer", "").strip(",")
        else:
            names = [name for name in row.imputed.split(",") if name]
            row.imputed = ",".join(answer_column if name == "answer" else name for name in names)


_Cells = dict[str, str] | str
"""Our column → clean text; or what is wrong with the row."""


def _cleaned(
    taken: Opened, theirs: Mapping[str, str], task: Task | None, cache: Path | None
) -> Iterator[tuple[_Cells, str, str]]:
    """Each row's cells, source and group; portions of tables that an interrupted ingest has done are not done again."""
    how = {"theirs": dict(theirs), "task": task.name if task else CORPUS}
    for one in taken.tables:
        number = 0
        try:
            for cells in _of_table(one, taken.wanted, theirs, task, None if one.is_document else cache, how):
                number += 1
                yield cells, one.source, taken.group(one, number, is_bad=isinstance(cells, str))
        except InputFileError as err:
            bad = taken.damaged(one, err)
            yield str(bad.cells), bad.source, bad.group
    for bad in taken.unread():
        yield str(bad.cells), bad.source, bad.group


def _of_table(
    one: OpenedTable,
    wanted: set[str],
    theirs: Mapping[str, str],
    task: Task | None,
    cache: Path | None,
    how: Mapping[str, Any],
) -> Iterator[_Cells]:
    portions = parsed.Portions(cache, {"rows of": one.sha256, **how})
    number = begin = 0
    for done in portions.done():
        yield from done["rows"]
        number, begin = number + 1, done["mark"]
    portion: list[_Cells] = []
    try:
        for mark, raw in one.table.marked(wanted, begin):
            portion.append(_plain_cells(raw, theirs, task))
            if len(portion) == parsed.PORTION_ROWS:
                portions.keep(str(number), {"mark": mark, "rows": portion})
                yield from portion
                number, portion = number + 1, []
    except InputFileError:
        yield from portion
        raise
    yield from portion


_CLEANERS = {"label": clean_prose, "line": clean_prose, "lines": clean_code, "json": clean_json}


def _plain_cells(raw: RawRow, theirs: Mapping[str, str], task: Task | None) -> _Cells:
    if isinstance(raw, str):
        return raw
    try:
        cells = {ours: _plain(raw.get(name), ours, task) for ours, name in theirs.items()}
        several = _several(raw, theirs, task)
        return cells | {REFERENCES: json.dumps(several, ensure_ascii=False)} if several else cells
    except ValueError as err:
        return str(err)


def _several(raw: Mapping[str, Any], theirs: Mapping[str, str], task: Task | None) -> list[str]:
    """The answers that are right, where a row lists more than one in a column of text."""
    column = "" if task is None else task.columns[1]
    given = raw.get(theirs[column]) if column else None
    if task is None or column_type(task, column) not in {"line", "lines"} or not isinstance(given, list):
        return []
    if len(given) < 2 or not all(isinstance(one, str) for one in given):
        return []
    return [plain for one in given if (plain := _plain(one, column, task))]


def _plain(cell: Any, column: str, task: Task | None) -> str:
    """A cell as clean text, by what its column holds. ValueError: bytes that are no text."""
    if column in OPTIONAL:
        return clean_prose(_text(cell))
    kind = "lines" if task is None else column_type(task, column)
    if kind in {"line", "lines"} and isinstance(cell, list) and all(isinstance(one, str) for one in cell):
        is_answer = task is not None and column == task.columns[1]
        # a text's sentences, each on a line of its own where the column has lines; of several right answers the first
        cell = ("\n" if kind == "lines" else " ").join(cell[:1] if is_answer else cell)
    return _CLEANERS[kind](_text(cell))


def _text(cell: Any) -> str:
    """A cell as text. Whole floats lose their `.0`: a label column with a gap is read as float from Parquet."""
    if cell is None or cell != cell:  # NaN
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode("utf-8")
    if isinstance(cell, dict | list):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return cell if isinstance(cell, str) else str(cell)
