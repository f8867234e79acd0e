"""JSON: one object a line, or an array of objects."""

import json
import re
from collections.abc import Collection, Iterator

from components.data.readers.encodings import decode, lost_bytes
from components.data.readers.kinds import RawRow, RawTable
from components.errors import InputFileError

_OBJECT_BEGINS = re.compile(r"[\]\}\"\d\w]\s*,\s*(?=\{)")
"""Where the next element of a broken array may begin."""
_SPACE = re.compile(r"[\s,]*")
_REMEDY = 'write one object a line: {"text": "…", "label": "…"}'


def read_json_lines(
    content: bytes, *, name: str, encoding: str | None = None, header: list[str] | None = None
) -> RawTable:
    """One object a line; a line that is none is a bad row.

    Which columns there are shows when all lines are read. Where `header` tells it, from an earlier time, a line is read
    when it is asked for.

    Raises:
        InputFileError: no text, or no line holds an object.
    """
    decoded = decode(content, name=name, encoding=encoding)
    lines = decoded.text.split("\n")
    parsed = None
    if header is None:
        parsed = {number: _line(number, line) for number, line in enumerate(lines, start=1) if line.strip()}
        header = _table(list(parsed.values()), name, decoded.encoding).header

    def rows_from(_: Collection[str], mark: int, /) -> Iterator[tuple[int, RawRow]]:
        for number in range(mark + 1, len(lines) + 1):
            if parsed is not None and number in parsed:
                yield number, parsed[number]
            elif parsed is None and lines[number - 1].strip():
                yield number, _line(number, lines[number - 1])

    def rows(wanted: Collection[str], /) -> Iterator[RawRow]:
        return (row for _, row in rows_from(wanted, 0))

    return RawTable(header, rows, decoded.encoding, rows_from)


def read_json(content: bytes, *, name: str, encoding: str | None = None) -> RawTable:
    """An array of objects, or an object with one such array in it; or, under a wrong name, one object a line.

    Of an array that breaks somewhere, the elements before and after the break are rows.

    Raises:
        InputFileError: no text, no JSON, or nothing that could be rows.
    """
    decoded = decode(content, name=name, encoding=encoding)
    text = decoded.text.strip()
    if not lost_bytes(text):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            arrays = [inner for inner in value.values() if isinstance(inner, list)]
            rows = arrays[0] if len(arrays) == 1 and any(isinstance(row, dict) for row in arrays[0]) else [value]
            return _table([_element(number, row) for number, row in enumerate(rows, start=1)], name, decoded.encoding)
        if isinstance(value, list):
            return _table([_element(number, row) for number, row in enumerate(value, start=1)], name, decoded.encoding)
    if text.startswith("["):
        return _table(list(_mended(text)), name, decoded.encoding)
    return _table(
        [_line(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()],
        name,
        decoded.encoding,
    )


def _line(number: int, line: str) -> RawRow:
    if wrong := lost_bytes(line):
        return f"line {number} holds {wrong}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as err:
        return f"line {number} is not JSON: {err}"
    return value if isinstance(value, dict) else f"line {number} is not a JSON object"


def _element(number: int, value: object) -> RawRow:
    return value if isinstance(value, dict) else f"element {number} is not a JSON object"


def _mended(text: str) -> Iterator[RawRow]:
    decoder = json.JSONDecoder()
    at, number = 1, 0
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing as well
        if at >= len(text) or (text[at] == "]" and not text[at + 1 :].strip()):
            return
        number += 1
        try:
            value, end = decoder.raw_decode(text, at)
            lost = lost_bytes(text[at:end])
            yield f"element {number} holds {lost}" if lost else _element(number, value)
            at = end
        except (ValueError, RecursionError) as err:
            yield f"element {number} is not JSON: {err}"
            begins = _OBJECT_BEGINS.search(text, at + 1)
            if begins is None:
                return
            at = begins.end()


def _table(parsed: list[RawRow], name: str, encoding: str) -> RawTable:
    header: dict[str, None] = {}
    for row in parsed:
        if isinstance(row, dict):
            header.update(dict.fromkeys(row))
    if not header:
        first = next((row for row in parsed if isinstance(row, str)), "its objects are empty")
        raise InputFileError(f"{name} holds no JSON object: {first}", _REMEDY)

    def rows(_: Collection[str], /) -> Iterator[RawRow]:
        yield from parsed

    return RawTable(list(header), rows, encoding)
