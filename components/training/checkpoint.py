"""Checkpoints that are whole or not there.

A checkpoint is a folder `step-00000025/` of safetensors files and a `manifest.json` with their hashes and its own. It
is written beside, flushed to the disk and renamed, so that a kill leaves the old one; what a crash of the machine tears
all the same is recognised by its hash and skipped. No pickle: the optimizer's state is tensors by name too.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)

NUM_KEPT = 2
"""The last one, and one more in case the last one is torn."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says when a disk, a quota or a file has reached its limit."""


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    step: int
    """Optimiser steps that are done."""
    key: str
    """`exact_key` of the lock it belongs to."""
    seconds: float
    """Spent training so far."""

    def losses(self) -> list[float]:
        """Of every step that is done, in nats per target, as the bits they were."""
        from safetensors.torch import load_file

        return load_file(self.path / "losses.safetensors")["losses"].tolist()


def save(
    folder: Path,
    *,
    step: int,
    key: str,
    seconds: float,
    model: "torch.nn.Module",
    optimizers: "Sequence[torch.optim.Optimizer]",
    losses: Sequence[float] = (),
) -> Path | None:
    """Write the checkpoint of a step; afterwards drop all but the last `NUM_KEPT`.

    Of the model, what training changes: trainable parameters and buffers. A full disk loses this save and nothing
    else: it is told, what was there stays, None is returned and the training may go on.

    Args:
        losses: of the steps that are done, nats per target.

    Raises:
        CheckpointError: the folder cannot be written at all. What was there stays.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    final = folder / f"step-{step:08d}"
    beside = folder / f".step-{step:08d}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".step-*"):  # of a killed attempt; one training at a time has this folder
            shutil.rmtree(leftover)
        beside.mkdir()
        contents = {"model": _changing(model), "losses": {"losses": torch.tensor(losses, dtype=torch.float64)}}
        numbers: dict[str, Any] = {}
        for i, optimizer in enumerate(optimizers):
            tensors, numbers[str(i)] = _split(optimizer)
            contents[f"optimizer-{i}"] = tensors
        for name, tensors in contents.items():
            save_file(
                {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}, beside / f"{name}.safetensors"
            )
        hashes = {path.name: _flush_and_hash(path) for path in sorted(beside.iterdir())}
        manifest = {"step": step, "key": key, "seconds": seconds, "numbers": numbers, "sha256": hashes}
        manifest |= {"manifest_sha256": _manifest_sha256(manifest)}
        (beside / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, indent=1))
        _flush_and_hash(beside / "manifest.json")
        if final.exists():  # a torn one that was skipped
            shutil.rmtree(final)
        beside.rename(final)
        _flush_folder(folder)
        for old in sorted(folder.glob("step-*"))[:-NUM_KEPT]:
            shutil.rmtree(old)
    except (OSError, SafetensorError) as err:  # safetensors translates the system's errors, a full disk's too
        shutil.rmtree(beside, ignore_errors=True)
        if _errno(err) in _FULL:
            log.warning("the checkpoint of step %d is not kept, the disk of %s is full: %s", step, folder, err)
            return None
        raise CheckpointError(
            f"the checkpoint of step {step} cannot be written to {folder}: {err}",
            "free some disk space, then run it again: it resumes",
        ) from err
    return final


def latest(folder: Path, *, key: str) -> Checkpoint | None:
    """The last whole checkpoint of this very training; None when there is none. Torn and foreign ones are skipped."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            own = manifest.pop("manifest_sha256")
            whole = own == _manifest_sha256(manifest) and all(
                _sha256(path / name) == want for name, want in manifest["sha256"].items()
            )
            found = Checkpoint(path, int(manifest["step"]), str(manifest["key"]), float(manifest["seconds"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            log.warning("%s is torn and skipped: %s", path, err)
            continue
        if not whole:
            log.warning("%s is torn and skipped: its hash is another", path)
        elif found.key == key:
            return found
    return None


def restore(checkpoint: Checkpoint, *, model: "torch.nn.Module", optimizers: "Sequence[torch.optim.Optimizer]") -> None:
    """Put a checkpoint's tensors in place, bit for bit.

    Raises:
        CheckpointError: it does not fit the model.
    """
    import torch
    from safetensors.torch import load_file

    numbers = json.loads((checkpoint.path / "manifest.json").read_text())["numbers"]
    tensors = load_file(checkpoint.path / "model.safetensors")
    ours = _changing(model)
    if tensors.keys() != ours.keys():
        raise CheckpointError(f"{checkpoint.path} belongs to another model", "remove the folder and run again")
    with torch.no_grad():
        for name, tensor in tensors.items():
            ours[name].copy_(tensor)
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in load_file(checkpoint.path / f"optimizer-{i}.safetensors").items():
            number, field = name.split(".", 1)
            state.setdefault(int(number), {})[field] = tensor
        for number, fields in numbers[str(i)].items():
            state.setdefault(int(number), {}).update(fields)
        # param_groups are the recipe's and the schedule's business, not the checkpoint's
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _changing(model: "torch.nn.Module") -> "dict[str, Tensor]":
    return {name: p for name, p in model.named_parameters() if p.requires_grad} | dict(model.named_buffers())


def _split(optimizer: "torch.optim.Optimizer") -> "tuple[dict[str, Tensor], dict[str, dict[str, Any]]]":
    """State as tensors named `<parameter number>.<field>`, and what of it is plain numbers."""
    import torch

    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for number, state in optimizer.state_dict()["state"].items():
        for field, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{field}"] = value
            else:
                numbers.setdefault(str(number), {})[field] = value
    return tensors, numbers


def _manifest_sha256(manifest: dict[str, Any]) -> str:
    """Over everything else that it says: a flipped bit in the step's number would resume at another step."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _errno(err: Exception) -> int | None:
    """The system's number of an error; of safetensors' errors it stands in the text only (0.8.0)."""
    if isinstance(err, OSError):
        return err.errno
    found = re.search(r"\(os error (\d+)\)", str(err))
    return int(found[1]) if found else None


def _flush_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _sha256(path)


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
