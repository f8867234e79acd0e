from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from components.errors import CheckpointError, InputFileError
from components.training import lock as locks
from components.training.finetuning import take_lock


@pytest.fixture(scope="module")
def base():
    return locks.Lock(
        tables={"t": "1"},
        recipe="r",
        parent="p",
        code="c",
        seed=0,
        packages={"torch": "2"},
        threads=2,
        device="cpu",
        isa="x86_64 AVX512",
        revision="abc",
        dirty="",
    )


@pytest.mark.parametrize("change", [{"tables": {"t": "2"}}, {"recipe": "s"}, {"parent": "q"}, {"code": "d"}])
def test_another_training_has_another_key(base, change):
    assert replace(base, **change).key != base.key
    assert replace(base, **change).exact_key != base.exact_key


@pytest.mark.parametrize("change", [{"threads": 4}, {"device": "H100"}, {"isa": "arm64"}, {"packages": {"torch": "3"}}])
def test_another_machine_is_the_same_training_but_not_comparable_bit_for_bit(base, change):
    assert replace(base, **change).key == base.key
    assert replace(base, **change).exact_key != base.exact_key


def test_a_commit_that_touches_no_code_of_the_training_changes_no_key(base):
    other = replace(base, revision="def", dirty="something")
    assert (other.key, other.exact_key) == (base.key, base.exact_key)


def test_a_lock_names_what_it_was_taken_of(classify, small_data, small_bert):
    lock = take_lock(classify, data_dir=small_data, weights_dir=small_bert)
    assert set(lock.tables) == {"topics"}
    assert lock.threads == 1
    assert lock.recipe == classify.sha256()
    assert lock.packages["torch"] == torch.__version__
    assert lock.as_dict()["key"] == lock.key
    assert lock == take_lock(classify, data_dir=small_data, weights_dir=small_bert)


def test_the_code_is_what_the_training_imports_and_no_more():
    reached = locks._closure(["components.training.finetuning"])
    assert {"components.training.loop", "components.training.seeds", "components.tasks.base"} <= set(reached)
    assert not [name for name in reached if name.startswith(("components.registry", "components.serving"))]


def test_every_task_is_code_of_its_own_training(classify, write_lines, small_data, small_bert):
    codes = {take_lock(r, data_dir=small_data, weights_dir=small_bert).code for r in (classify, write_lines)}
    assert len(codes) == 2


def test_weights_hash_the_same_however_they_lie_in_files(tmp_path):
    tensors = {"a": torch.ones(3), "b": torch.zeros(2, 2, dtype=torch.bfloat16)}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    save_file(tensors, tmp_path / "one/model.safetensors")
    for name, tensor in tensors.items():
        save_file({name: tensor}, tmp_path / f"two/{name}.safetensors")
    assert locks.weights_sha256(tmp_path / "one") == locks.weights_sha256(tmp_path / "two")
    assert locks.weights_sha256(tmp_path / "one") == locks.weights_sha256(tensors)


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.tensor([1.0, 2.0, -0.0])},
        {"b": torch.tensor([1.0, 2.0, 0.0])},
        {"a": torch.tensor([[1.0, 2.0, 0.0]])},
        {"a": torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)},
    ],
)
def test_bits_names_shapes_and_types_all_count(other):
    assert locks.weights_sha256(other) != locks.weights_sha256({"a": torch.tensor([1.0, 2.0, 0.0])})


def test_a_torn_file_and_a_folder_without_weights_are_named(tmp_path):
    with pytest.raises(InputFileError, match=r"no \*\.safetensors"):
        locks.weights_sha256(tmp_path)
    save_file({"a": torch.ones(100)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="cannot be read"):
        locks.weights_sha256(tmp_path)
