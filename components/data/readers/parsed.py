"""What an ingest has done already, kept while it is not at its end: an interrupted one goes on where it was.

<cache>/parsed/<sha256>.json            the rows of one document, by what it holds, how it is read, and our own code
<cache>/parsed/<sha256>.<number>.json   a portion of a table's rows, read and cleaned, and where the next begins
<cache>/parsed/<sha256>.rows.json       a portion of rows after rules, masking and filling, by what the rows were before

They hold texts as they came, unmasked: only the owner may read them, and `forget` removes them when an ingest is done.
Tables of fewer rows than a portion has are not kept: reading them back would cost what reading them costs.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache as once
from pathlib import Path
from typing import Any

from components.data.readers.kinds import RawRow, RawTable
from components.errors import InputFileError

PORTION_ROWS = 2_000
"""Of a table: what a kill costs at most, some hundredths of a second of reading, or a minute of a model's work."""
_FOLDER = "parsed"
_MAX_AGE_SECONDS = 7 * 24 * 3600
"""An ingest that nobody has gone on with for so long is given up."""


def remembered(read: Callable[[], RawTable], content: bytes, *, cache: Path | None, how: Mapping[str, Any]) -> RawTable:
    """What `read` gives for a document, from the cache where it was read before; an error is remembered too.

    Raises:
        InputFileError: as `read`.
    """
    if cache is None:
        return read()
    digest = hashlib.sha256(f"{_code()}\0{json.dumps(dict(how), sort_keys=True)}\0".encode("utf-8", "surrogatepass"))
    digest.update(content)
    path = cache / _FOLDER / f"{digest.hexdigest()}.json"
    try:
        return _table(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError):  # not there, or torn by a crash
        pass
    try:
        table = read()
        kept = {"header": table.header, "encoding": table.encoding, "rows": list(table.rows(table.header))}
    except InputFileError as err:
        _write(path, {"error": [err.message, err.remedy]})
        raise
    _write(path, kept)
    return table


class Portions:
    """The portions of one table that were done before, and those that are being done; without a cache, none is kept."""

    def __init__(self, cache: Path | None, how: Mapping[str, Any]) -> None:
        text = json.dumps([_code(), PORTION_ROWS, dict(how)], sort_keys=True)
        self._cache, self._key = cache, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def done(self) -> Iterator[Any]:
        """What is there of the portions from the first on, up to the first that is not."""
        number = 0
        while (found := self.get(str(number))) is not None:
            yield found
            number += 1

    def get(self, name: str) -> Any:
        """What is kept under a name or a number; None where there is nothing, or it was torn by a crash."""
        try:
            return None if self._cache is None else json.loads(self._path(name).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def keep(self, name: str, value: Any) -> None:
        """Keep what JSON can hold."""
        if self._cache is not None:
            _write(self._path(name), value)

    def _path(self, name: str) -> Path:
        assert self._cache is not None
        return self._cache / _FOLDER / f"{self._key}.{name}.json"


def forget(cache: Path, *, all_of_them: bool = True) -> None:
    """Remove what is remembered: all of it, or what an ingest left that was given up long ago."""
    if all_of_them:
        shutil.rmtree(cache / _FOLDER, ignore_errors=True)
        return
    for path in (cache / _FOLDER).glob("*"):
        if time.time() - path.stat().st_mtime > _MAX_AGE_SECONDS:
            path.unlink(missing_ok=True)


def _table(kept: dict[str, Any]) -> RawTable:
    if "error" in kept:
        raise InputFileError(*kept["error"])
    rows: list[RawRow] = kept["rows"]
    return RawTable(kept["header"], lambda _: iter(rows), kept["encoding"])


def _write(path: Path, kept: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(kept), "ascii")
    partial.replace(path)


@once
def _code() -> str:
    """Hash of the source of what makes rows of bytes: another version of ours does it again."""
    digest = hashlib.sha256()
    components = Path(__file__).parents[2]
    for path in sorted([*(components / "data").rglob("*.py"), *(components / "tasks").glob("*.py")]):
        digest.update(path.read_bytes())
    digest.update((components / "names.py").read_bytes())
    return digest.hexdigest()
