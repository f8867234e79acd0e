"""The rows of a training by preference: kept by their hash, so that the same ones can be trained on again.

They are no split of a table: a pair is of two answers, and a table holds one. The run that trains on them has them too.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.errors import DataError, DataStoreError, MappingError

if TYPE_CHECKING:
    import pandas as pd

FILE = "preferences.jsonl"
"""Artifact of a run."""
COLUMNS = {"dpo": ("id", "prompt", "chosen", "rejected"), "kto": ("id", "prompt", "completion", "label")}
"""As `feedback.preferences` makes them."""

Method = Literal["dpo", "kto"]


def ordered(rows: "pd.DataFrame", *, method: Method) -> "pd.DataFrame":
    """The method's columns in an order of their own, whatever order they came in.

    Raises:
        MappingError: one is lacking.
        DataError: there are no rows.
    """
    names = list(COLUMNS[method])
    if missing := [name for name in names if name not in rows.columns]:
        raise MappingError(f"the rows have no column {missing[0]!r}", f"{method} needs {', '.join(names)}")
    if not len(rows):
        raise DataError("there is nothing to learn from", "see: banyan feedback export TABLE FILE --what dpo|kto")
    return rows[names].sort_values(names, ignore_index=True)


def as_text(rows: "pd.DataFrame", *, method: Method) -> str:
    """JSON lines, the same for the same rows."""
    records = ordered(rows, method=method).to_dict("records")
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records)


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def keep(text: str, *, runs: Path) -> str:
    """Write `as_text` down in the workspace's folder of runs; its sha256, by which `read` finds it."""
    name = sha256_of(text)
    path = _path(name, runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(text, "utf-8", errors="surrogatepass", newline="")
    beside.replace(path)
    return name


def keep_givers(feedback_ids: Sequence[str], sha256: str, *, runs: Path) -> None:
    """Write down whose feedback the rows are, so that they can be told what became of it."""
    _path(sha256, runs).with_suffix(".givers.json").write_text(json.dumps(sorted(feedback_ids)), "utf-8")


def givers(sha256: str, *, runs: Path) -> list[str]:
    """The ids of the feedback that the rows are of; none where they were made elsewhere."""
    path = _path(sha256, runs).with_suffix(".givers.json")
    found: list[str] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return found


def text_of(sha256: str, *, runs: Path) -> str:
    """What was kept.

    Raises:
        DataStoreError: it is not there, or not what it was.
    """
    path = _path(sha256, runs)
    try:
        text = path.read_bytes().decode("utf-8", "surrogatepass")
    except OSError as err:
        raise DataStoreError(
            f"the preference rows {sha256[:12] or 'of no training'} are not in this workspace",
            "train without rows: then they are taken from the feedback",
        ) from err
    if sha256_of(text) != sha256:
        raise DataStoreError(f"{path} is damaged", "delete it: the run that trained on these rows has them too")
    return text


def read(sha256: str, *, runs: Path) -> "pd.DataFrame":
    """The rows as they were. Raises DataStoreError: as `text_of`."""
    import pandas as pd

    return pd.DataFrame([json.loads(line) for line in text_of(sha256, runs=runs).split("\n") if line])


def _path(sha256: str, runs: Path) -> Path:
    return runs / "preferences" / f"{sha256}.jsonl"
