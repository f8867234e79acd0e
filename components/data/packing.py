"""A corpus as one stream of tokens a split, in files that a training maps into memory.

<folder>/<split>.tokens       uint16 or uint32, little-endian: every document's tokens, each closed by the end token
<folder>/<split>.documents    uint64: where each document begins
<folder>/tokenizer/           the tokenizer, as Hugging Face writes it
<folder>/packed.json          what it is, with the hash of every file
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from components.data.tables import CORPUS, TableInfo
from components.errors import DataStoreError, InputFileError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

SPLITS = ("train", "heldout")
INFO, ROWS, REJECTS = "packed.json", "rows", "rejects"
PREFIX = "packed/"
"""Before the name of a packed corpus where others are tables' names."""
Tokens = npt.NDArray[np.unsignedinteger[Any]]


class PackedSplit(BaseModel):
    """What a split holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: int
    tokens: int
    """End tokens included."""
    sha256: str
    """Over both files' bytes."""


class Packed(BaseModel):
    """What `packed.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str
    """Of the tokens, as numpy names it: uint16 up to 65,536 entries."""
    end_id: int
    vocab_size: int
    tokenizer_sha256: str
    splits: dict[str, PackedSplit]
    origin: dict[str, Any] = {}
    """Of what and how it was made; nothing of it says how it is read."""

    def sha256(self) -> str:
        """Hash of all that a training reads: names, sizes and bytes of the splits, and the tokenizer."""
        text = json.dumps(self.model_dump(mode="json", exclude={"origin", "name"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """The smallest type that holds every id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


# ---------------------------------------------------------------- reading


def read_info(folder: Path) -> Packed:
    """What a packed corpus is.

    Raises:
        InputFileError: there is none.
        DataStoreError: its description is damaged, or a file has not the size that it should have.
    """
    path = folder / INFO
    try:
        found = Packed.model_validate_json(path.read_bytes())
    except FileNotFoundError as err:
        raise InputFileError(f"there is no packed corpus in {folder}", "make one with: banyan data pack") from err
    except (OSError, ValidationError) as err:
        raise DataStoreError(f"{path} is damaged: {err}", "pack the corpus again") from err
    width = np.dtype(found.dtype).itemsize
    for name, split in found.splits.items():
        for file, size in ((f"{name}.tokens", split.tokens * width), (f"{name}.documents", split.documents * 8)):
            there = (folder / file).stat().st_size if (folder / file).is_file() else 0
            if there != size:
                raise DataStoreError(f"{folder / file} has {there} bytes instead of {size}", "pack the corpus again")
    return found


def as_table(folder: Path) -> TableInfo:
    """What a packed corpus would be as a table: one without columns, whose licences nobody has stated.

    Raises:
        InputFileError, DataStoreError: as `read_info`.
    """
    read_info(folder)
    return TableInfo(task=CORPUS, labels=(), columns=(), licences={})


def tokens(folder: Path, split: str) -> Tokens:
    """(S,) a split's stream, mapped: nothing is read before it is looked at, and nothing is copied."""
    info = read_info(folder)
    return _mapped(folder / f"{split}.tokens", np.dtype(info.dtype))


def documents(folder: Path, split: str) -> npt.NDArray[np.uint64]:
    """(D,) where each document of a split begins in its stream, mapped."""
    return _mapped(folder / f"{split}.documents", np.dtype("<u8"))


def rows(folder: Path, split: str, length: int) -> "Tensor":
    """(n, length + 1) a split's stream in rows that share one token, as a view of the file; the rest is left out.

    The same rows as `objectives.rows_of` makes of the same texts. The type is the file's: `.long()` what is picked.
    """
    import torch

    stream = tokens(folder, split)
    if len(stream) <= length:
        return torch.empty((0, length + 1), dtype=torch.long)
    return torch.from_numpy(stream).unfold(0, length + 1, length)


def tokenizer_of(folder: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of a packed corpus.

    Raises:
        DataStoreError: it is not the one that the corpus was packed with.
    """
    import transformers

    info = read_info(folder)
    if tokenizer_sha256(folder / "tokenizer") != info.tokenizer_sha256:
        raise DataStoreError(
            f"the tokenizer in {folder} is another than the corpus was packed with", "pack the corpus again"
        )
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")


def tokenizer_sha256(folder: Path) -> str:
    """Hash of a folder's `tokenizer.json`."""
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()


def _mapped(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if not path.stat().st_size:  # nothing cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="c")  # copy on write: torch wants what could be written, and nothing is


# ---------------------------------------------------------------- writing


class SplitWriter:
    """Writes a split's two files, portion by portion."""

    def __init__(self, folder: Path, split: str, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.num_documents = self.num_tokens = 0
        self.streams = [(folder / f"{split}.{name}").open("wb") for name in ("tokens", "documents")]
        self.hashes = [hashlib.sha256(), hashlib.sha256()]

    def add(self, ids: npt.NDArray[Any], sizes: npt.NDArray[np.int64]) -> None:
        """Documents of so many tokens each, end tokens included, one after the other."""
        assert sizes.sum() == len(ids)
        starts = self.num_tokens + np.cumsum(sizes) - sizes
        for stream, digest, array in zip(
            self.streams, self.hashes, (ids.astype(self.dtype, copy=False), starts.astype("<u8")), strict=True
        ):
            content = np.ascontiguousarray(array).data
            stream.write(content)
            digest.update(content)
        self.num_documents += len(sizes)
        self.num_tokens += len(ids)

    def close(self) -> PackedSplit:
        """What the split holds."""
        for stream in self.streams:
            stream.close()
        both = hashlib.sha256(b"".join(digest.digest() for digest in self.hashes)).hexdigest()
        return PackedSplit(documents=self.num_documents, tokens=self.num_tokens, sha256=both)

    def __enter__(self) -> "SplitWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, _: TracebackType | None) -> None:
        for stream in self.streams:
            stream.close()


def pack_texts(
    texts: "dict[str, Iterable[str]]", tokenizer: "PreTrainedTokenizerFast", folder: Path, *, name: str = "texts"
) -> Packed:
    """Texts that are clean already (a table's splits, say) as a packed corpus in a new folder."""
    from components.models.encoding import Encoder

    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    encoder = Encoder(folder / "tokenizer" / "tokenizer.json")
    dtype, end = dtype_for(encoder.vocab_size), int(tokenizer.eos_token_id)
    splits = {}
    for split, its_texts in texts.items():
        with SplitWriter(folder, split, dtype) as writer:
            for portion in _portions(its_texts):
                encoded = encoder.encode(portion)
                writer.add(*closed(encoded.ids, encoded.starts, end))
            splits[split] = writer.close()
    info = Packed(
        name=name,
        dtype=dtype.name,
        end_id=end,
        vocab_size=encoder.vocab_size,
        tokenizer_sha256=tokenizer_sha256(folder / "tokenizer"),
        splits=splits,
    )
    (folder / INFO).write_text(info.model_dump_json(indent=1) + "\n", "utf-8")
    return info


def closed(
    ids: npt.NDArray[Any], starts: npt.NDArray[np.int64], end: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The documents' ids with the end token behind each, and how many each has then."""
    sizes = np.diff(starts)
    return np.insert(ids, starts[1:], end), sizes + 1


def _portions(texts: Iterable[str]) -> Iterable[Sequence[str]]:
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(text)
        if length > 1 << 20:
            yield waiting
            waiting, length = [], 0
    if waiting:
        yield waiting
