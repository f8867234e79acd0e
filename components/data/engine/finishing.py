"""The second way through a part's documents: those that are kept become tokens, and every row its account.

`work/finished/<number>/`: <split>.tokens and <split>.sizes.npy, rows.parquet, rejects.parquet, counts.json.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.data.cleaning import CONTAMINATED, DUPLICATE, NEAR_DUPLICATE
from components.data.decontamination import Contamination
from components.data.engine import duplicates
from components.data.engine.blocks import FINISHED, Counts, PartFolder, Rejects, counts_of, read_texts
from components.data.filters import read_benchmarks
from components.data.packing import SPLITS, closed, dtype_for
from components.data.privacy import mask_all
from components.data.splits import unit
from components.models.encoding import Encoder
from components.recipes import Pack

REASONS = {duplicates.DUPLICATE: DUPLICATE, duplicates.NEAR_DUPLICATE: NEAR_DUPLICATE}
_ROW_COLUMNS = ("id", "file", "position", "source", "split", "num_tokens")


def finish(number: int, recipe: Pack, work: Path, *, tokenizer_json: Path, end_id: int) -> Counts:
    """Drop what was decided to be a duplicate, decontaminate, mask, split and tokenise a prepared part."""
    with PartFolder(work, FINISHED, number) as made:
        if made is None:
            return counts_of(work, FINISHED, number)
        encoder = _encoder(tokenizer_json)
        dtype = dtype_for(encoder.vocab_size)
        rejects, reasons, masked = Rejects(), Counter[str](), 0
        documents, tokens = Counter[str](), Counter[str]()
        cells: dict[str, list[object]] = {name: [] for name in _ROW_COLUMNS}
        sizes: dict[str, list[npt.NDArray[np.int64]]] = {split: [np.zeros(0, np.int64)] for split in SPLITS}
        with ExitStack() as closing:
            streams = {split: closing.enter_context((made / f"{split}.tokens").open("wb")) for split in SPLITS}
            for batch in kept_documents(number, recipe, work):
                for row, reason in batch.rejected:
                    rejects.add(row["file"], row["position"], row["source"], reason, row["text"])
                    reasons[reason] += 1
                texts = mask_all(batch.texts) if recipe.mask else batch.texts
                masked += sum(one != other for one, other in zip(texts, batch.texts, strict=True))
                encoded = encoder.encode(texts)
                ids, lengths = closed(encoded.ids, encoded.starts, end_id)
                where = np.array([split_of(row["group"] or row["id"], recipe) for row in batch.rows])
                for split in SPLITS:
                    mine = where == split
                    streams[split].write(ids[np.repeat(mine, lengths)].astype(dtype).data)
                    sizes[split].append(lengths[mine])
                    documents[split] += int(mine.sum())
                    tokens[split] += int(lengths[mine].sum())
                for row, split, length in zip(batch.rows, where.tolist(), lengths.tolist(), strict=True):
                    for name in ("id", "file", "position", "source"):
                        cells[name].append(row[name])
                    cells["split"].append(split)
                    cells["num_tokens"].append(length)
        for split in SPLITS:
            np.save(made / f"{split}.sizes.npy", np.concatenate(sizes[split]))
        rejects.write(made / "rejects.parquet")
        _write_rows(cells, made / "rows.parquet")
        counts: Counts = {
            "kept": documents.total(),
            "rejects": dict(reasons),
            "masked": masked,
            "documents": dict(documents),
            "tokens": dict(tokens),
            "sources": dict(Counter(cells["source"])),
        }
        (made / "counts.json").write_text(json.dumps(counts), "utf-8")
    return counts


class Batch:
    """Documents of a part: those that are kept, as rows and texts, and those that are not, with the reason."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.rejected: list[tuple[dict[str, Any], str]] = []


def kept_documents(number: int, recipe: Pack, work: Path) -> Iterator[Batch]:
    """A prepared part batch by batch, sorted into what is kept and what is not; nothing is masked yet."""
    decisions = np.load(decisions_path(work, number))
    contamination = _contamination(recipe.rules.decontaminate, recipe.rules.decontaminate_words)
    done = 0
    for stored in read_texts(work, number):
        batch = Batch()
        taken = decisions[done : done + stored.num_rows]
        done += stored.num_rows
        columns = {name: stored.column(name).to_pylist() for name in stored.schema.names}
        texts = columns["text"]
        hit = np.zeros(len(texts), bool)
        if contamination is not None:
            fine = np.flatnonzero(taken == duplicates.KEPT)
            hit[fine] = contamination.found_in([texts[place] for place in fine])
        for place, decision in enumerate(taken.tolist()):
            row = {name: column[place] for name, column in columns.items()}
            if decision != duplicates.KEPT:
                batch.rejected.append((row, REASONS[decision]))
            elif hit[place]:
                batch.rejected.append((row, CONTAMINATED))
            else:
                batch.rows.append(row)
                batch.texts.append(texts[place])
        yield batch


def split_of(group: str, recipe: Pack) -> str:
    """Which split a group belongs to: a function of its name alone, whatever else the corpus holds."""
    return "heldout" if unit(recipe.seed, group) < recipe.heldout_share else "train"


def sample_texts(num_parts: int, recipe: Pack, work: Path, *, num_chars: int) -> Iterator[str]:
    """Of `num_chars` of kept training texts about `tokenizer_chars`, drawn by their ids, masked, in order."""
    share = recipe.tokenizer_chars / max(num_chars, 1)
    for number in range(num_parts):
        for batch in kept_documents(number, recipe, work):
            texts = [
                text
                for row, text in zip(batch.rows, batch.texts, strict=True)
                if split_of(str(row["group"] or row["id"]), recipe) == "train"
                and unit(recipe.seed, f"tokenizer/{row['id']}") < share
            ]
            yield from mask_all(texts) if recipe.mask else texts


def decisions_path(work: Path, number: int) -> Path:
    """Where the duplicates of a part are marked."""
    return work / "decisions" / f"{number:06}.npy"


@cache
def _encoder(tokenizer_json: Path) -> Encoder:
    return Encoder(tokenizer_json)


@cache
def _contamination(paths: tuple[Path, ...], num_words: int) -> Contamination | None:
    return Contamination(read_benchmarks(paths), num_words=num_words) if paths else None


def _write_rows(cells: dict[str, list[object]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"position": pa.int64(), "num_tokens": pa.int64()}
    arrays = {name: pa.array(column, types.get(name, pa.string())) for name, column in cells.items()}
    pq.write_table(pa.table(arrays), path, compression="zstd")
