"""What happens to the documents of one part, apart from what executes it: files in, files out, the same every time.

A part's results are a folder that appears whole or not at all, so that a part which was interrupted, or done twice on
two machines, is no more than a part that was done.
"""

import json
import os
import shutil
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.data import filters
from components.data.cleaning import MALFORMED, NO_TEXT, TOO_LONG, TOO_SHORT, Row, clean_code, clean_prose, kept
from components.data.dedup import bands, signatures
from components.data.engine.inputs import Part, Raw, read, text_of
from components.data.privacy import mask
from components.data.shingles import Hashes, Ragged, mixed, shingle_sets
from components.data.tables import content_id
from components.recipes import Pack

if TYPE_CHECKING:
    import pyarrow as pa

EXCERPT_CHARS = 200
PREPARED, FINISHED = "prepared", "finished"

Counts = dict[str, object]


def prepare(part: Part, recipe: Pack, work: Path, *, batch_chars: int) -> Counts:
    """Read, clean and filter a part's documents, and sign those that are kept.

    `work/prepared/<number>/`: texts.arrow, ids.npy (N,), keys.npy (bands, N), sets.bin and starts.npy (N + 1,),
    rejects.parquet, counts.json, which is also what is returned.
    """
    with PartFolder(work, PREPARED, part.number) as made:
        if made is None:
            return counts_of(work, PREPARED, part.number)
        texts = _Texts(made / "texts.arrow")
        rejects = Rejects()
        ids, keys, sizes = [np.zeros(0, np.uint64)], [], [np.zeros(1, np.int64)]
        reasons: Counter[str] = Counter()
        changed: Counter[str] = Counter()
        sources: dict[str, Counter[str]] = defaultdict(Counter)
        num_rows = num_chars = 0
        with texts, (made / "sets.bin").open("wb") as sets_file:
            for raws in batches(read(part, recipe), batch_chars):
                rows = [_row(raw, recipe) for raw in raws]
                changed.update(filters.apply_rules(rows, recipe.rules))
                for row in kept(rows):
                    row.reason = _length_reason(row.text, recipe)
                num_rows += len(rows)
                for raw, row in zip(raws, rows, strict=True):
                    sources[row.source]["rows"] += 1
                    if row.reason:
                        rejects.add(raw.file, raw.position, row.source, row.reason, row.text)
                        reasons[row.reason.split(":")[0]] += 1
                    else:
                        row.id = content_id(row.text)
                        num_chars += len(row.text)
                        sources[row.source]["chars"] += len(row.text)
                good = kept(rows)
                if not good:
                    continue
                sets = shingle_sets([row.text for row in good])
                keys.append(band_keys(sets, threshold=recipe.rules.near_duplicate_threshold))
                sets_file.write(sets.flat.tobytes())
                sizes.append(sets.sizes)
                ids.append(np.array([int(row.id, 16) for row in good], np.uint64))
                texts.add(good, [raw for raw, row in zip(raws, rows, strict=True) if not row.reason])
        np.save(made / "ids.npy", np.concatenate(ids))
        num_bands = bands(recipe.rules.near_duplicate_threshold)[0]
        np.save(made / "keys.npy", np.concatenate(keys, axis=1) if keys else np.zeros((num_bands, 0), np.uint64))
        np.save(made / "starts.npy", np.cumsum(np.concatenate(sizes)))
        rejects.write(made / "rejects.parquet")
        counts: Counts = {
            "rows": num_rows,
            "kept": num_rows - reasons.total(),
            "chars": num_chars,
            "rejects": dict(reasons),
            "changed": dict(changed),
            "sources": {name: dict(counted) for name, counted in sources.items()},
            "bytes": part.num_bytes,
        }
        (made / "counts.json").write_text(json.dumps(counts), "utf-8")
    return counts


def _row(raw: Raw, recipe: Pack) -> Row:
    """A raw document as a row with clean text, or with what is wrong with it."""
    row = Row("", "", raw.source, "", "", origin="file")
    if isinstance(raw.cells, str):
        row.reason = f"{MALFORMED}: {raw.cells}"
        return row
    column = recipe.columns.get("text", "text")
    if column not in raw.cells:
        row.reason = f"{MALFORMED}: it has no {column!r} but {', '.join(map(str, [*raw.cells][:8])) or 'nothing'}"
        return row
    try:
        row.source = clean_prose(text_of(raw.cells.get(recipe.columns.get("source", "source")))) or raw.source
        row.group = clean_prose(text_of(raw.cells.get(recipe.columns.get("group", "group"))))
        text = text_of(raw.cells[column])
    except ValueError as err:
        row.reason = f"{MALFORMED}: {err}"
        return row
    if len(text) > recipe.max_chars:
        row.text, row.reason = clean_code(text[: 4 * EXCERPT_CHARS]), TOO_LONG
    else:
        row.text = clean_code(text)
        row.reason = "" if row.text.strip() else NO_TEXT
    return row


def _length_reason(text: str, recipe: Pack) -> str:
    return TOO_SHORT if len(text) < recipe.min_chars else ""


def band_keys(sets: Ragged, *, threshold: float) -> Hashes:
    """(bands, N) a hash for each band of each text's MinHash signature; 0 for a text without words, which is like none.

    Two texts whose sets of word pairs overlap by `threshold` share one of them with the probability `dedup.RECALL`.
    """
    num_bands, rows = bands(threshold)
    signature = signatures(sets, threshold=threshold)
    found = np.zeros((num_bands, len(sets)), np.uint64)
    for band in range(num_bands):
        key = found[band]
        for column in range(band * rows, (band + 1) * rows):
            key = mixed(key ^ signature[:, column].astype(np.uint64)) + np.uint64(column)
        found[band] = np.where(sets.sizes > 0, np.maximum(key, np.uint64(1)), np.uint64(0))
    return found


# ---------------------------------------------------------------- shared with `finishing`


def batches(raws: Iterable[Raw], batch_chars: int) -> Iterator[list[Raw]]:
    """Documents in lists of about `batch_chars`: what a worker holds at once."""
    waiting: list[Raw] = []
    size = 0
    for raw in raws:
        waiting.append(raw)
        cells = raw.cells
        strings = [cells] if isinstance(cells, str) else [cell for cell in cells.values() if isinstance(cell, str)]
        size += 200 + sum(map(len, strings))
        if size >= batch_chars:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def counts_of(work: Path, stage: str, number: int) -> Counts:
    """What a part's folder says of itself."""
    return json.loads((work / stage / f"{number:06}" / "counts.json").read_text("utf-8"))


def is_done(work: Path, stage: str, number: int) -> bool:
    """Whether a part has been through a stage."""
    return (work / stage / f"{number:06}" / "counts.json").is_file()


class PartFolder(AbstractContextManager["Path | None"]):
    """A folder to fill, which takes its place when all is written; None where it is in its place already."""

    def __init__(self, work: Path, stage: str, number: int) -> None:
        self.place = work / stage / f"{number:06}"
        self.made: Path | None = None

    def __enter__(self) -> Path | None:
        if self.place.is_dir():
            return None
        self.made = self.place.parent / f".{self.place.name}-{uuid.uuid4().hex}"
        self.made.mkdir(parents=True)
        return self.made

    def __exit__(self, kind: object, *_: object) -> None:
        if self.made is None:
            return
        if kind is None:
            try:
                os.rename(self.made, self.place)  # noqa: PTH104  # Path.rename replaces an empty folder silently too
                return
            except OSError:
                if not self.place.is_dir():  # else another worker was first, and its bytes are the same
                    raise
        shutil.rmtree(self.made, ignore_errors=True)


class _Texts(AbstractContextManager["_Texts"]):
    """The kept documents of a part, batch by batch, in an Arrow file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closing = ExitStack()

    def __enter__(self) -> "_Texts":
        import pyarrow as pa

        kinds = [("text", pa.large_string()), ("id", pa.string()), ("source", pa.string()), ("group", pa.string())]
        self.schema = pa.schema([*kinds, ("file", pa.string()), ("position", pa.int64())])
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        sink = self.closing.enter_context(pa.OSFile(str(self.path), "wb"))
        self.writer = self.closing.enter_context(pa.ipc.new_file(sink, self.schema, options=options))
        return self

    def add(self, rows: Sequence[Row], raws: Sequence[Raw]) -> None:
        """One batch more."""
        import pyarrow as pa

        cells = [[getattr(row, name) for row in rows] for name in ("text", "id", "source", "group")]
        cells += [[raw.file for raw in raws], [raw.position for raw in raws]]
        self.writer.write_batch(
            pa.record_batch([pa.array(c, f.type) for c, f in zip(cells, self.schema, strict=True)], schema=self.schema)
        )

    def __exit__(self, *_: object) -> None:
        self.closing.close()


def read_texts(work: Path, number: int) -> "Iterator[pa.RecordBatch]":
    """A prepared part's documents: text, id, source, group, file, position."""
    import pyarrow as pa

    with pa.OSFile(str(work / PREPARED / f"{number:06}" / "texts.arrow")) as opened:
        reader = pa.ipc.open_file(opened)
        for batch in range(reader.num_record_batches):
            yield reader.get_batch(batch)


class Rejects:
    """Rejected documents with their reason and a masked beginning."""

    def __init__(self) -> None:
        self.cells: dict[str, list[object]] = {name: [] for name in ("file", "position", "source", "reason", "text")}

    def add(self, file: str, position: int, source: str, reason: str, text: str) -> None:
        """One more. It is masked before it is cut: half a number would not be known for one."""
        excerpt = mask(text[: 4 * EXCERPT_CHARS])[:EXCERPT_CHARS]
        for column, cell in zip(self.cells.values(), (file, position, source, reason, excerpt), strict=True):
            column.append(cell)

    def write(self, path: Path) -> None:
        """All of them as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"position": pa.int64()}
        arrays = {name: pa.array(cells, types.get(name, pa.string())) for name, cells in self.cells.items()}
        pq.write_table(pa.table(arrays), path, compression="zstd")
