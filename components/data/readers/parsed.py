"""Documents that were read already, kept while an ingest is not at its end: an interrupted one goes on where it was.

<cache>/parsed/<sha256>.json     the rows of one document, by what it holds, how it is read, and the readers' own code

They hold texts as they came, unmasked: only the owner may read them, and `forget` removes them when an ingest is done.
Tables are not kept: reading them back would cost what reading them costs.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import cache as once
from pathlib import Path
from typing import Any

from components.data.readers.kinds import RawRow, RawTable
from components.errors import InputFileError

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


def _write(path: Path, kept: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(kept), "ascii")
    partial.replace(path)


@once
def _code() -> str:
    """Hash of the readers' source: another version of ours reads again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
