import pandas as pd
import pytest

from components.data import tables
from components.errors import DataStoreError, MappingError


def _frame(*texts: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [tables.content_id(text) for text in texts],
            "text": list(texts),
            "label": ["x"] * len(texts),
            "source": ["s"] * len(texts),
            "licence": ["MIT"] * len(texts),
            "group": ["g"] * len(texts),
            "origin": ["file"] * len(texts),
            "imputed": [""] * len(texts),
        }
    )


def _write(folder, frame):
    tables.write_split(folder, "t", "train", frame, task="classification")
    tables.write_table_info(folder, "t", task="classification", labels={"x"}, licences={"s": "MIT"})


def test_the_id_is_the_same_for_what_reads_the_same():
    assert tables.content_id("Ｈello\n  World ") == tables.content_id("hello world")
    assert tables.content_id("hello world") != tables.content_id("hello, world")
    assert len(tables.content_id("")) == 16


def test_rows_come_back_sorted_by_id_with_the_columns_of_the_task(tmp_path):
    frame = _frame("one", "two", "été 漢字 🙂")
    _write(tmp_path, frame.iloc[::-1])
    found = tables.read_split(tmp_path, "t", "train")
    assert list(found.columns) == list(tables.columns("classification"))
    assert found["id"].is_monotonic_increasing
    assert set(found["text"]) == set(frame["text"])


def test_the_same_rows_in_another_order_are_the_same_bytes(tmp_path):
    _write(tmp_path / "a", _frame("one", "two", "three"))
    _write(tmp_path / "b", _frame("three", "one", "two"))
    _write(tmp_path / "c", _frame("three", "one", "four"))
    hashes = [tables.table_sha256(tmp_path / name, "t") for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_split_that_is_absent_has_no_rows_and_all_columns(tmp_path):
    _write(tmp_path, _frame("one"))
    assert list(tables.read_split(tmp_path, "t", "feedback").columns) == list(tables.columns("classification"))
    assert tables.read_split(tmp_path, "t", "feedback").empty


def test_a_table_that_is_not_there_names_those_that_are(tmp_path):
    _write(tmp_path, _frame("one"))
    with pytest.raises(MappingError, match=r"no table 'u'.*its tables are: t"):
        tables.read_split(tmp_path, "u", "train")


def test_an_unknown_task_names_the_known_ones():
    with pytest.raises(MappingError, match=r"the tasks are: classification, .*summarisation"):
        tables.columns("alchemy")


def test_a_damaged_file_is_said_to_be_damaged(tmp_path):
    _write(tmp_path, _frame("one"))
    path = tmp_path / "t" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataStoreError, match="damaged"):
        tables.read_split(tmp_path, "t", "train")
