"""What becomes of a training whose checkpoints are damaged, and of one whose disk is full."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components.training import checkpoint

HERE = Path(__file__).parent
FILES = ("manifest.json", "model.safetensors", "optimizer-0.safetensors", "losses.safetensors")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Checkpoints of steps 1 and 2."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in (1, 2):
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        checkpoint.save(
            tmp_path, step=step, key="k", seconds=0.5, model=model, optimizers=[optimizer], losses=[0.1] * step
        )
    return tmp_path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_truncated_file_is_found_and_the_checkpoint_skipped(folder, name, cut):
    file = folder / "step-00000002" / name
    file.write_bytes(file.read_bytes()[: -cut or 0])
    assert checkpoint.latest(folder, key="k").step == 1


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_wherever_it_is(folder, name):
    """Of the small files every byte; a manifest whose step, seconds or numbers were changed is still JSON."""
    file = folder / "step-00000002" / name
    content = file.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        file.write_bytes(flipped)
        found = checkpoint.latest(folder, key="k")
        said_the_same = name == "manifest.json" and _same_json(bytes(flipped), content)  # white space is no content
        assert found.step == (2 if said_the_same else 1), f"byte {place} of {name}"
    file.write_bytes(content)
    assert checkpoint.latest(folder, key="k").step == 2


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(folder, name):
    (folder / "step-00000002" / name).unlink()
    assert checkpoint.latest(folder, key="k").step == 1


def test_when_every_checkpoint_is_damaged_there_is_none(folder, caplog):
    for path in folder.glob("step-*"):
        (path / "manifest.json").unlink()
    assert checkpoint.latest(folder, key="k") is None
    assert [record for record in caplog.records if "torn and skipped" in record.message]


# ---------------------------------------------------------------- a full disk, really full


def test_a_full_disk_loses_that_save_only(tmp_path):
    """A file system of two megabytes, mounted for one process; where none can be, files that must not grow."""
    training = [sys.executable, str(HERE / "full_disk.py"), str(tmp_path)]
    isolate = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") and not subprocess.run([*isolate, "true"], capture_output=True).returncode:
        mount = f"mount -t tmpfs -o size=2m tmpfs {shlex.quote(str(tmp_path))} && exec {shlex.join(training)} fill"
        command = [*isolate, "sh", "-c", mount]
    else:
        command = [*training, "limit"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    _has_survived(json.loads(done.stdout.splitlines()[-1]))


def _has_survived(found: dict) -> None:
    assert found["saved_while_full"] is None
    assert found["left_while_full"] == ["step-00000002", "step-00000004"], "nothing half-written, nothing lost"
    assert found["num_steps"] == 10, "the training went on"
    assert found["saved_afterwards"] == "step-00000008"
    assert found["model_refused"], "a model that does not fit on the disk is an error with a remedy"
    assert found["resumed_from"] == 8, "which is resumed when there is room"
    assert found["weights_sha256"] == found["undisturbed_sha256"]
