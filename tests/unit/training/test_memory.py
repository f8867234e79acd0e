import logging

import pytest
import torch

from components.errors import TrainingError
from components.training.memory import Division, divide, is_out_of_memory


def test_a_step_is_divided_from_where_it_did_not_fit_and_so_it_stays(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    division = Division(tmp_path, key="k")
    assert division.parts(0) == 1
    division.halve(3, rows=8, name="topics")
    assert "step 4 of topics does not fit" in caplog.text
    assert "4 rows at a time and 2 times as many accumulation steps" in caplog.text
    division.halve(5, rows=8, name="topics")
    for found in (division, Division(tmp_path, key="k")):  # the second one is another process's
        assert [found.parts(step) for step in range(7)] == [1, 1, 1, 2, 2, 4, 4]
    assert Division(tmp_path, key="another").parts(6) == 1


def test_a_single_row_that_does_not_fit_ends_it(tmp_path):
    division = Division(tmp_path, key="k")
    division.halve(0, rows=2, name="topics")
    with pytest.raises(TrainingError, match="not even one row fits"):
        division.halve(0, rows=2, name="topics")


def test_a_damaged_note_is_as_none(tmp_path):
    (tmp_path / "division.json").write_text("{")
    assert Division(tmp_path, key="k").parts(0) == 1


def test_all_tensors_of_a_batch_are_divided_alike():
    batch = {"input_ids": torch.arange(10).reshape(5, 2), "labels": torch.arange(5)}
    parts = divide([batch], 2)
    assert [len(part["labels"]) for part in parts] == [3, 2]
    assert torch.equal(torch.cat([part["input_ids"] for part in parts]), batch["input_ids"])
    assert divide([batch], 1) == [batch]
    assert len(divide([batch], 8)) == 5


def test_what_the_allocators_say_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
