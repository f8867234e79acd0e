import pandas as pd
import pytest

from components.data import tables
from components.data.diff import diff


@pytest.fixture
def write(tmp_path):
    """Writes a version of one table: split → (text, answer) pairs."""

    def make(version: str, splits: dict[str, list[tuple[str, str]]], task: str = "classification"):
        folder = tmp_path / version
        for split, pairs in splits.items():
            rows = [
                {
                    "id": tables.content_id(text),
                    "text": text,
                    tables.target_column(task) or "answer": answer,
                    "source": text.split()[0],
                    "licence": "CC0-1.0",
                    "group": text,
                    "origin": "file",
                    "imputed": "",
                }
                for text, answer in pairs
            ]
            frame = pd.DataFrame(rows)[list(tables.columns(task))]
            tables.write_split(folder, "things", split, frame, task=task)
        labels = {answer for pairs in splits.values() for _, answer in pairs} if task == "classification" else set()
        tables.write_table_info(folder, "things", task=task, labels=labels, licences={})
        return folder

    return make


def test_each_kind_of_difference_is_counted_by_split_source_and_label(write):
    before = write("a", {"train": [("a stays", "x"), ("b goes", "x"), ("c turns", "x")], "test": [("d moves", "y")]})
    after = write("b", {"train": [("a stays", "x"), ("c turns", "y"), ("d moves", "y")], "test": [("e comes", "z")]})
    found = diff(before, after)["things"]
    assert (found.same, found.is_new, found.is_gone) == (1, False, False)
    assert found.added.model_dump(exclude={"examples"}) == {
        "total": 1,
        "splits": {"test": 1},
        "sources": {"e": 1},
        "labels": {"z": 1},
        "imputed": {},
    }
    assert (found.removed.total, found.removed.splits, found.removed.sources) == (1, {"train": 1}, {"b": 1})
    assert (found.changed.total, found.changed.labels, found.changed.sources) == (1, {"x → y": 1}, {"c": 1})
    assert (found.moved.total, found.moved.splits, found.moved.labels) == (1, {"test → train": 1}, {"y": 1})
    [example] = found.changed.examples
    assert (example["text"], example["answer"], example["before"]) == ("c turns", "y", "x")


def test_a_row_that_moves_and_changes_is_both_and_the_same_only_once(write):
    before = write("a", {"train": [("a", "x"), ("b", "x")], "test": [("c", "y")]})
    after = write("b", {"train": [("a", "x"), ("c", "x")], "test": [("b", "y")]})
    found = diff(before, after)["things"]
    assert (found.same, found.changed.total, found.moved.total) == (1, 2, 2)
    assert found.changed.labels == {"x → y": 1, "y → x": 1}


def test_the_differences_add_up_to_the_rows_of_both_versions(write):
    pairs = [(f"{source} {number}", "xyz"[number % 3]) for source in "ab" for number in range(60)]
    before = write("a", {"train": pairs[:70], "test": pairs[70:90]})
    after = write("b", {"train": pairs[10:80], "test": pairs[80:]})
    found = diff(before, after)["things"]
    assert found.same + found.removed.total + found.moved.total == 90
    assert found.same + found.added.total + found.moved.total == 110
    assert (found.added.total, found.removed.total, found.moved.total) == (30, 10, 10)


def test_free_text_changes_without_labels(write):
    before = write("a", {"train": [("a", "old words"), ("b", "kept")]}, task="summarisation")
    after = write("b", {"train": [("a", "new words"), ("b", "kept")]}, task="summarisation")
    found = diff(before, after)["things"]
    assert (found.changed.total, found.changed.labels) == (1, {})
    assert (found.changed.examples[0]["before"], found.changed.examples[0]["answer"]) == ("old words", "new words")


def test_feedback_that_repeats_a_row_is_compared_with_feedback_alone(write):
    before = write("a", {"train": [("a", "x"), ("b", "y")]})
    after = write("b", {"train": [("a", "x"), ("b", "y")], "feedback": [("a", "y")]})
    found = diff(before, after)["things"]
    assert (found.same, found.added.total, found.added.splits) == (2, 1, {"feedback": 1})
    assert found.changed.total == found.moved.total == found.removed.total == 0


def test_a_new_table_is_new_and_an_equal_one_is_left_out(write, tmp_path):
    full = write("a", {"train": [("a", "x")], "test": [("b", "y")]})
    (tmp_path / "empty").mkdir()
    assert diff(full, full) == {}
    new, gone = diff(tmp_path / "empty", full)["things"], diff(full, tmp_path / "empty")["things"]
    assert (new.is_new, new.added.total, gone.is_gone, gone.removed.total) == (True, 2, True, 2)
