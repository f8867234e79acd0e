"""The tables of a data version: their schemas, and how they are read and written.

<version>/<table>/<split>.parquet     one file a split, rows sorted by id
<version>/<table>/table.json          {"task", "labels", "columns", "licences"}
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from components.errors import DataStoreError, MappingError
from components.tasks import get_task

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "test", "pool", "reserve", "feedback")
"""Of a labelled table. `pool` is what the scripted rater replays, `reserve` what a control may draw from."""
CORPUS_SPLITS = ("train", "heldout")

CORPUS = "corpus"
"""What a table of plain text has for a task."""

BACK_TRANSLATED = "augmented:back-translation"
"""Origin of training rows that models made of others."""
_PROVENANCE = ("source", "licence", "group", "origin", "imputed")


def target_column(task: str) -> str:
    """The column that holds the answer; '' in a corpus.

    Raises:
        MappingError: no table has this task.
    """
    return "" if task == CORPUS else get_task(task).columns[1]


def columns(task: str) -> tuple[str, ...]:
    """The columns of a task's table. All are stored as text; `imputed` names the columns that were filled in.

    `id` is `content_id(text)`; `group` is the file a row came from, never shared between test and the rest;
    `origin` is provenance | file | feedback | augmented:back-translation.

    Raises:
        MappingError: no table has this task.
    """
    if task == CORPUS:
        return ("id", "text", "source", "licence", "group")
    return ("id", *get_task(task).columns, *_PROVENANCE)


class TableInfo(BaseModel):
    """What `table.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    labels: tuple[str, ...]
    """Sorted; empty where the answers are free text."""
    columns: tuple[str, ...]
    licences: dict[str, str]
    """Source → licence."""


def normalised(text: str) -> str:
    """What two texts must share to count as the same: NFKC, case folded, every run of spaces one."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(plain.split()).casefold()


def content_id(text: str) -> str:
    """First 16 hex digits of the sha256 of the normalised text."""
    return hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def empty_frame(task: str) -> "pd.DataFrame":
    """No rows, all columns."""
    import pandas as pd  # 0.4 s, which those who only want a table's hash or a text's id do not wait for

    return pd.DataFrame({column: pd.Series([], dtype="str") for column in columns(task)})


# ---------------------------------------------------------------- reading


def table_names(version_dir: Path) -> list[str]:
    """The tables of a version, sorted."""
    return sorted(path.parent.name for path in version_dir.glob("*/table.json"))


def table_info(version_dir: Path, table: str) -> TableInfo:
    """Task, labels, columns and licences of a table.

    Raises:
        MappingError: the version has no such table.
    """
    path = version_dir / table / "table.json"
    if not path.is_file():
        there = ", ".join(table_names(version_dir)) or "none"
        raise MappingError(f"data version {version_dir.name} has no table {table!r}", f"its tables are: {there}")
    return TableInfo.model_validate_json(path.read_text("utf-8"))


def split_names(version_dir: Path, table: str) -> list[str]:
    """The splits that a table has, sorted."""
    return sorted(path.stem for path in (version_dir / table).glob("*.parquet"))


def read_split(version_dir: Path, table: str, split: str) -> "pd.DataFrame":
    """The rows of one split, sorted by id; an empty frame of the same columns when the split is absent.

    Raises:
        MappingError: the version has no such table.
        DataStoreError: the file is damaged.
    """
    info = table_info(version_dir, table)
    path = version_dir / table / f"{split}.parquet"
    if not path.is_file():
        return empty_frame(info.task)
    try:
        return pq.read_table(path, columns=list(info.columns)).to_pandas()
    except (OSError, pa.ArrowException) as err:
        remedy = f"delete {version_dir} and use the version again: it comes back from the remote"
        raise DataStoreError(f"{path} is damaged: {err}", remedy) from err


def num_rows(version_dir: Path, table: str) -> dict[str, int]:
    """Split → rows, from the files' footers."""
    return {
        split: pq.read_metadata(version_dir / table / f"{split}.parquet").num_rows
        for split in split_names(version_dir, table)
    }


def table_sha256(version_dir: Path, table: str) -> str:
    """Hash over the names and bytes of a table's files."""
    digest = hashlib.sha256()
    for path in sorted((version_dir / table).iterdir()):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


# ---------------------------------------------------------------- writing


def write_split(version_dir: Path, table: str, split: str, frame: "pd.DataFrame", *, task: str) -> None:
    """One split, sorted by id, in the task's columns: the same rows give the same bytes.

    pyarrow's version stands in the file's footer, hence its exact pin; pandas' metadata is left out.
    """
    names = columns(task)
    ordered = frame.sort_values(["id", *[name for name in names if name != "id"]], kind="stable")
    schema = pa.schema([(name, pa.string()) for name in names])
    arrays = [pa.array(ordered[name].tolist(), pa.string(), from_pandas=True) for name in names]
    (version_dir / table).mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        version_dir / table / f"{split}.parquet",
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=["source", "licence", "group"],
        write_statistics=False,
        row_group_size=1 << 20,
        data_page_version="1.0",
        store_schema=False,
    )


def write_table_info(
    version_dir: Path, table: str, *, task: str, labels: Iterable[str], licences: dict[str, str]
) -> TableInfo:
    """`table.json`, sorted."""
    info = TableInfo(
        task=task,
        labels=tuple(sorted(labels)),
        columns=columns(task),
        licences=dict(sorted(licences.items())),
    )
    (version_dir / table).mkdir(parents=True, exist_ok=True)
    text = json.dumps(info.model_dump(), ensure_ascii=False, indent=1, sort_keys=True)
    (version_dir / table / "table.json").write_text(text + "\n", "utf-8")
    return info
