"""Packed corpora as data versions: kept by DVC as tables are, with recipe and sources; never the current version.

A version's folder is the corpus itself, and its only "table" is `packed/<name>`. A pretraining names it as `data:NAME`
(the newest of that name) or `data:ID`.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data import packing
from components.data.engine.inputs import find_files
from components.data.manifests import SplitSummary, contents, find, head, versions
from components.data.readers.opening import InputNote
from components.data.versioning import checkout_dir, commit, path_of
from components.errors import UsageError
from components.recipes import Pack, Pretrain
from components.refs import DataRef
from components.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

MARK = "data:"
"""Begins what a recipe calls a packed corpus that is a data version."""


def commit_packed(folder: Path, *, settings: Settings, recipe: Pack | None = None) -> DataRef:
    """Make a packed corpus a data version; the current version stays what it is. The same corpus is the same version.

    Its files become read-only, and lie once on the disk, DVC's cache included, however often they are checked out here.
    `recipe` is what it was made by; where it is not given, nothing is said of its sources' bytes.

    Raises:
        InputFileError, DataStoreError: no packed corpus, a damaged one, or DVC and its remote.
    """
    info = packing.read_info(folder)
    table = packing.PREFIX + info.name
    for known in versions(settings):  # what the manifest says of it is read from every row
        if known.ref.tables == {table: info.sha256()} and (checkout_dir(known.ref.version, settings)).is_dir():
            return known.ref
    report = info.origin.get("report", {})
    rejects = _rejects_of(folder / packing.REJECTS, table, settings) if (folder / packing.REJECTS).is_dir() else None
    ref = commit(
        folder,
        settings=settings,
        is_current=False,
        note={
            "name": info.name,
            "recipe": info.origin.get("recipe", {}),
            "rows": {table: _splits(folder, info)},
            "rejects": {table: report.get("rejects", {})},
            "rejects_file": str(rejects or ""),
            "changed": {table: report.get("changed", {})},
            "inputs": {table: _inputs(recipe, report, settings).model_dump()} if recipe else {},
            "seconds": report.get("seconds", {}),
            "tokens": {split: one.tokens for split, one in info.splits.items()},
        },
    )
    if rejects is not None:
        rejects.unlink(missing_ok=True)  # `commit` has its copy
    return ref


def is_kept(folder: Path, *, settings: Settings) -> bool:
    """Whether what lies in a packed corpus' folder is a data version, so that the folder itself may go."""
    if not (folder / packing.INFO).is_file():
        return False
    same = [one.ref.version for one in versions(settings) if one.ref.tables == contents(folder)]
    return any(checkout_dir(version, settings).is_dir() for version in same)


def find_packed(which: Path, *, settings: Settings) -> DataRef:
    """The version that a recipe's `packed` names: `data:NAME`, `data:ID`, or a folder, which becomes one if it is none.

    Raises:
        UsageError: there is no such version, or it is none of a packed corpus.
        InputFileError, DataStoreError: as `commit_packed`.
    """
    if not is_version(which):
        return commit_packed(which, settings=settings)
    name = str(which).removeprefix(MARK)
    table = packing.PREFIX + name
    newest = next((one for one in versions(settings) if table in one.ref.tables), None)
    found = newest or find(name, settings=settings)
    if not found.is_packed:
        raise UsageError(f"{which} is a version of tables", "name a packed corpus: banyan data log lists them")
    return found.ref


def data_for(recipe: object, *, settings: Settings) -> DataRef | None:
    """What a training learns from: of a pretraining on a packed corpus that version, of others the current one.

    Raises:
        UsageError, InputFileError, DataStoreError: as `find_packed`.
    """
    if isinstance(recipe, Pretrain) and recipe.packed is not None:
        return find_packed(recipe.packed, settings=settings)
    return head(settings)


def is_version(packed: Path) -> bool:
    """Whether a recipe's `packed` names a data version."""
    return str(packed).startswith(MARK)


def located(recipe: Pretrain, *, data: DataRef, settings: Settings) -> Pretrain:
    """The recipe with the folder where its packed corpus lies on this machine; comes back from the remote if missing.

    Raises:
        UsageError: it names a data version, and `data` is none of a packed corpus.
        DataStoreError: as `versioning.path_of`.
    """
    if recipe.packed is None:
        return recipe
    if any(table.startswith(packing.PREFIX) for table in data.tables):
        return recipe.model_copy(update={"packed": path_of(data, settings)})
    if is_version(recipe.packed):
        found = path_of(find_packed(recipe.packed, settings=settings), settings)
        return recipe.model_copy(update={"packed": found})
    return recipe


def _splits(folder: Path, info: packing.Packed) -> dict[str, SplitSummary]:
    counted: dict[str, Counter[str]] = {split: Counter() for split in info.splits}
    for one in _pieces(folder / packing.ROWS, ["split", "source"]):
        for split, source in zip(one["split"].to_pylist(), one["source"].to_pylist(), strict=True):
            counted[split][source] += 1
    return {
        split: SplitSummary(total=one.documents, sources=dict(sorted(counted[split].items())), labels={})
        for split, one in info.splits.items()
    }


def _pieces(folder: Path, columns: Sequence[str]) -> "list[pa.Table]":
    import pyarrow.parquet as pq

    return [pq.read_table(path, columns=list(columns)) for path in sorted(folder.glob("*.parquet"))]


def _rejects_of(folder: Path, table: str, settings: Settings) -> Path:
    """The rejected documents as one file in the shape that those of tables have; `commit` keeps a copy."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("table", "reason", "text", "answer", "source", "group")
    path = settings.workspace.data / "staging" / f"{folder.parent.name}.rejects.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, pa.schema([(name, pa.string()) for name in names]), compression="zstd") as writer:
        for one in _pieces(folder, ["reason", "text", "source", "file"]):
            size = len(one)
            cells = {"table": [table] * size, "answer": [""] * size, "group": one["file"]}
            cells |= {name: one[name] for name in ("reason", "text", "source")}
            writer.write_table(pa.table({name: cells[name] for name in names}, schema=writer.schema))
    return path


def _inputs(recipe: Pack, report: dict[str, Any], settings: Settings) -> InputNote:
    """The source's version: a hash over names and bytes of every file that was packed."""
    digest, num_bytes, kinds = hashlib.sha256(), 0, Counter[str]()
    files = find_files(recipe, cache=settings.workspace.inputs)
    for file in files:
        with file.path.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.name}\0{content}\n".encode("utf-8", "surrogateescape"))
        num_bytes += file.path.stat().st_size
        kinds[file.kind] += 1
    return InputNote(
        address=", ".join(recipe.inputs),
        sha256=digest.hexdigest(),
        num_files=len(files),
        num_bytes=num_bytes,
        num_rows=report.get("rows_in", 0),
        kinds=dict(sorted(kinds.items())),
    )
