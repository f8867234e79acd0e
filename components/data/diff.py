"""What is different between two data versions: rows added, removed, changed, moved; by split, source and label.

A row is its `id`, the hash of its text. Feedback stands beside rows that it may repeat, so it is compared apart.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from components.data.manifests import contents
from components.data.packing import PREFIX, ROWS
from components.data.tables import split_names, table_info, target_column
from components.errors import DataStoreError
from components.tasks import get_task
from components.tasks.base import column_type

NUM_EXAMPLES = 3
"""Of each table and kind, the first by id."""
_EXAMPLE_CHARS = 120

Kind = Literal["added", "removed", "changed", "moved"]


class Rows(BaseModel):
    """So many rows, and how they are made up."""

    model_config = ConfigDict(frozen=True)

    total: int = 0
    splits: dict[str, int] = {}
    """Of moved rows `from → to`."""
    sources: dict[str, int] = {}
    labels: dict[str, int] = {}
    """Empty where the answers are free text; of changed rows `from → to`."""
    imputed: dict[str, int] = {}
    """Column → rows of these, as they are now, whose cell was empty and was filled in."""
    examples: tuple[dict[str, str], ...] = ()
    """id, text and answer (both shortened, and masked as the version is); of changed and moved rows also `before`."""


class TableDiff(BaseModel):
    """One table's differences. Rows with another answer are changed, rows in another split moved; a row can be both."""

    model_config = ConfigDict(frozen=True)

    is_new: bool = False
    is_gone: bool = False
    same: int = 0
    """Rows that are in both, with the same answer and in the same split."""
    added: Rows = Rows()
    removed: Rows = Rows()
    changed: Rows = Rows()
    moved: Rows = Rows()


def diff(before: Path, after: Path) -> dict[str, TableDiff]:
    """Table → what is different, of two versions' folders; tables that are equal to the byte are left out.

    Raises:
        DataStoreError: a file is damaged.
    """
    found = {}
    there, now = contents(before), contents(after)
    for table in sorted({*there, *now}):
        if there.get(table) == now.get(table):
            continue
        old = _rows(before, table) if table in there else None
        new = _rows(after, table) if table in now else None
        found[table] = _table_diff(old, new, _place(before, table), _place(after, table))
    return found


def _place(version_dir: Path, table: str) -> Path:
    """A table's folder; a packed corpus is the version's own."""
    return version_dir if table.startswith(PREFIX) else version_dir / table


def _packed_rows(folder: Path) -> pa.Table:
    """The same of a packed corpus' documents, which have no answers."""
    string = pa.large_string()
    parts = [pa.table({name: pa.array([], string) for name in ("id", "split", "source")})]
    for path in sorted((folder / ROWS).glob("*.parquet")):
        parts.append(pq.read_table(path, columns=["id", "split", "source"]).cast(parts[0].schema))
    rows = pa.concat_tables(parts)
    rows = rows.append_column("key", rows["id"])
    for name in ("answer", "label", "imputed"):
        rows = rows.append_column(name, pa.repeat(pa.scalar("", string), len(rows)))
    return rows.combine_chunks()


def _rows(version_dir: Path, table: str) -> pa.Table:
    """id, key, split, source, answer, label ('' where there are none), imputed."""
    if table.startswith(PREFIX):
        return _packed_rows(version_dir)
    info = table_info(version_dir, table)
    answer = target_column(info.task)
    has_labels = bool(answer) and column_type(get_task(info.task), answer) == "label"
    parts = []
    for split in split_names(version_dir, table):
        path = version_dir / table / f"{split}.parquet"
        try:
            part = pq.read_table(path, columns=["id", "source", *([answer, "imputed"] if answer else [])])
        except (OSError, pa.ArrowException) as err:
            remedy = f"delete {version_dir} and use the version again: it comes back from the remote"
            raise DataStoreError(f"{path} is damaged: {err}", remedy) from err
        size = len(part)
        ids = part["id"].combine_chunks()
        key = pc.binary_join_element_wise(ids, pa.scalar("feedback"), "/") if split == "feedback" else ids
        values = part[answer] if answer else pa.repeat(pa.scalar(""), size)
        columns = {
            "id": ids,
            "key": key,
            "split": pa.repeat(pa.scalar(split), size),
            "source": part["source"],
            "answer": values,
            "label": values if has_labels else pa.repeat(pa.scalar(""), size),
            "imputed": part["imputed"] if answer else pa.repeat(pa.scalar(""), size),
        }
        parts.append(pa.table({name: column.cast(pa.large_string()) for name, column in columns.items()}))
    return pa.concat_tables(parts).combine_chunks()


def _table_diff(old: pa.Table | None, new: pa.Table | None, before: Path, after: Path) -> TableDiff:
    if old is None or new is None:
        only = new if old is None else old
        assert only is not None  # it is a table of one of the two
        rows = _summed(only, after if old is None else before)
        return TableDiff(is_new=True, added=rows) if old is None else TableDiff(is_gone=True, removed=rows)
    place = pc.index_in(new["key"], value_set=old["key"].combine_chunks())  # where each new row was, null: nowhere
    added = new.filter(pc.is_null(place))
    removed = old.filter(pc.invert(pc.is_in(old["key"], value_set=new["key"].combine_chunks())))
    is_known = pc.is_valid(place)
    now, was = new.filter(is_known), old.take(place.drop_null())
    has_changed = pc.not_equal(now["answer"], was["answer"])
    has_moved = pc.not_equal(now["split"], was["split"])
    both = now
    for column in ("answer", "split", "label"):
        both = both.append_column(f"old {column}", was[column])
    return TableDiff(
        same=len(both) - (pc.sum(pc.or_(has_changed, has_moved)).as_py() or 0),
        added=_summed(added, after),
        removed=_summed(removed, before),
        changed=_summed(both.filter(has_changed), after, arrow="label", was="old answer"),
        moved=_summed(both.filter(has_moved), after, arrow="split", was="old split"),
    )


def _summed(rows: pa.Table, folder: Path, *, arrow: str = "", was: str = "") -> Rows:
    """`arrow` is the column that is counted as old → new."""
    counted = {name: rows[name] for name in ("split", "source", "label")}
    if arrow:
        ends = [rows[f"old {arrow}"], rows[arrow], pa.scalar(" → ", pa.large_string())]
        has_none = pc.and_(pc.equal(ends[0], ""), pc.equal(ends[1], ""))
        counted[arrow] = pc.if_else(has_none, pa.scalar("", pa.large_string()), pc.binary_join_element_wise(*ends))
    return Rows(
        total=len(rows),
        splits=_counts(counted["split"]),
        sources=_counts(counted["source"]),
        labels=_counts(counted["label"]),
        imputed=_columns(_counts(rows["imputed"])),
        examples=_examples(rows, folder, was),
    )


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    counted = {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}
    counted.pop("", None)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _columns(counts: Mapping[str, int]) -> dict[str, int]:
    """A row may have several columns that were filled in."""
    found: Counter[str] = Counter()
    for names, number in counts.items():
        found.update(dict.fromkeys(names.split(","), number))
    return dict(found)


def _examples(rows: pa.Table, folder: Path, was: str) -> tuple[dict[str, str], ...]:
    """Texts are read of these rows alone."""
    if not len(rows):
        return ()
    chosen = rows.take(pc.select_k_unstable(rows, NUM_EXAMPLES, sort_keys=[("id", "ascending")])).to_pylist()
    texts: dict[tuple[str, str], str] = {}
    for split in sorted({row["split"] for row in chosen}):
        ids = [row["id"] for row in chosen if row["split"] == split]
        if (folder / ROWS).is_dir():  # of a packed corpus there are tokens only: where the document came from
            found_at = ["id", "file", "position"]
            read = pq.read_table(folder / ROWS, columns=found_at, filters=[("id", "in", ids)])
            texts |= {(split, row["id"]): f"{row['file']} at {row['position']}" for row in read.to_pylist()}
            continue
        read = pq.read_table(folder / f"{split}.parquet", columns=["id", "text"], filters=[("id", "in", ids)])
        texts |= {(split, row["id"]): row["text"] for row in read.to_pylist()}
    found = []
    for row in chosen:
        text = texts[row["split"], row["id"]]
        example = {"id": row["id"], "text": _shortened(text), "answer": _shortened(row["answer"])}
        found.append(example | ({"before": _shortened(row[was])} if was else {}))
    return tuple(found)


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXAMPLE_CHARS else flat[: _EXAMPLE_CHARS - 1] + "…"
