import random

import numpy as np
import pytest
import torch

from components.data import packing
from components.errors import DataStoreError, InputFileError
from components.models.tokenizer import train_bpe
from components.training.objectives import rows_of

DRAW = random.Random(0)
TEXTS = [
    " ".join(DRAW.choices(["the", "cat", "sat", "<|endoftext|>", "中文", "don't"], k=DRAW.randrange(60)))
    for _ in range(80)
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 320)


@pytest.fixture
def folder(tokenizer, tmp_path):
    packing.pack_texts({"train": TEXTS[:70], "heldout": TEXTS[70:]}, tokenizer, tmp_path / "packed")
    return tmp_path / "packed"


def test_packed_rows_are_those_of_the_texts(folder, tokenizer):
    for length in (7, 32):
        mapped = packing.rows(folder, "train", length)
        assert torch.equal(mapped.long(), rows_of(TEXTS[:70], tokenizer, length))


def test_rows_are_a_view_of_the_mapped_file(folder):
    stream = packing.tokens(folder, "train")
    assert isinstance(stream, np.memmap)
    view = torch.from_numpy(stream).unfold(0, 9, 8)
    assert view.untyped_storage().data_ptr() == stream.ctypes.data
    assert packing.rows(folder, "train", 8).stride() == (8, 1)  # overlapping: nothing was copied
    assert stream.dtype == np.uint16


def test_every_document_begins_where_it_is_said_and_ends_with_the_end_token(folder, tokenizer):
    stream, starts = packing.tokens(folder, "train"), packing.documents(folder, "train")
    end = packing.read_info(folder).end_id
    assert len(starts) == 70
    for number, (low, high) in enumerate(zip(starts, [*starts[1:], len(stream)], strict=True)):
        *ids, last = stream[int(low) : int(high)].tolist()
        assert last == end
        assert end not in ids
        assert tokenizer.decode(ids) == TEXTS[number]


def test_the_hash_is_of_what_is_read_and_of_nothing_else(folder, tokenizer, tmp_path):
    again = packing.pack_texts({"train": TEXTS[:70], "heldout": TEXTS[70:]}, tokenizer, tmp_path / "b", name="other")
    other = packing.pack_texts({"train": TEXTS[:69], "heldout": TEXTS[70:]}, tokenizer, tmp_path / "c")
    assert packing.read_info(folder).sha256() == again.sha256() != other.sha256()


def test_a_large_vocabulary_has_wider_tokens():
    assert [packing.dtype_for(size).itemsize for size in (1 << 16, (1 << 16) + 1)] == [2, 4]


def test_a_torn_file_a_foreign_tokenizer_and_an_empty_folder_are_named(folder, tokenizer, tmp_path):
    with pytest.raises(InputFileError, match="no packed corpus"):
        packing.read_info(tmp_path)
    train_bpe(TEXTS[:5], 300).save_pretrained(folder / "tokenizer")
    with pytest.raises(DataStoreError, match="another than the corpus was packed with"):
        packing.tokenizer_of(folder)
    path = folder / "train.tokens"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataStoreError, match=r"train\.tokens has \d+ bytes instead of"):
        packing.tokens(folder, "train")


def test_a_stream_shorter_than_a_row_gives_none(folder):
    assert packing.rows(folder, "heldout", 1 << 20).shape == (0, (1 << 20) + 1)
