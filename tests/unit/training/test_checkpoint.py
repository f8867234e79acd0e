import json

import pytest
import torch

from components.errors import CheckpointError
from components.training import checkpoint


def network(optimizer=torch.optim.AdamW):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model, [optimizer([p for p in model.parameters() if p.requires_grad], lr=0.1)]


def walk(model, optimizers, steps):
    for _ in range(steps):
        model(torch.randn(5, 3)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def store(folder, step, model, optimizers, key="k"):
    return checkpoint.save(folder, step=step, key=key, seconds=1.5, model=model, optimizers=optimizers)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_weights_buffers_and_optimizer_come_back_bit_for_bit(tmp_path, optimizer):
    model, optimizers = network(optimizer)
    walk(model, optimizers, 3)
    store(tmp_path, 3, model, optimizers)
    other, others = network(optimizer)
    checkpoint.restore(checkpoint.latest(tmp_path, key="k"), model=other, optimizers=others)
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    torch.manual_seed(1)
    walk(model, optimizers, 2)
    torch.manual_seed(1)
    walk(other, others, 2)
    assert torch.equal(model[2].weight, other[2].weight)


def test_a_torn_checkpoint_is_skipped_for_the_one_before(tmp_path):
    model, optimizers = network()
    for step in (1, 2):
        walk(model, optimizers, 1)
        last = store(tmp_path, step, model, optimizers)
    content = (last / "model.safetensors").read_bytes()
    (last / "model.safetensors").write_bytes(content[:-3] + b"\0\0\0")
    assert checkpoint.latest(tmp_path, key="k").step == 1
    (last / "model.safetensors").write_bytes(content)
    assert checkpoint.latest(tmp_path, key="k").step == 2
    (last / "manifest.json").write_text("{")
    assert checkpoint.latest(tmp_path, key="k").step == 1


def test_another_trainings_checkpoint_is_not_resumed(tmp_path):
    store(tmp_path, 4, *network(), key="another")
    assert checkpoint.latest(tmp_path, key="k") is None
    assert checkpoint.latest(tmp_path / "nowhere", key="k") is None


def test_only_the_last_two_are_kept_and_what_a_kill_left_beside_goes(tmp_path):
    (tmp_path / ".step-00000001.99").mkdir()
    for step in (1, 2, 3):
        store(tmp_path, step, *network())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_frozen_weights_are_not_stored(tmp_path):
    from safetensors import safe_open

    path = store(tmp_path, 1, *network())
    with safe_open(path / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if name.startswith("0.")]  # noqa: SIM118


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="step 7 cannot be written"):
        store(tmp_path / "file", 7, *network())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    store(tmp_path, 1, *network())
    model = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="another model"):
        checkpoint.restore(checkpoint.latest(tmp_path, key="k"), model=model, optimizers=[])


def test_the_manifest_holds_a_hash_for_every_other_file(tmp_path):
    path = store(tmp_path, 1, *network())
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(manifest["sha256"]) == {file.name for file in path.iterdir()} - {"manifest.json"}
