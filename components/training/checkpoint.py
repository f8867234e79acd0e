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

    from components.training.distributed import World

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
    history: tuple[tuple[int, str], ...] = ((0, ""),)
    """From which step on which workers trained, as `distributed.World.name`."""
    num_tokens: int = 0
    """Seen so far, padding not counted."""

    def losses(self) -> list[float]:
        """Of every step that is done, in nats per target, as the bits they were."""
        from safetensors.torch import load_file

        return load_file(self.path / "losses.safetensors")["losses"].tolist()

    @property
    def named(self) -> str:
        """Of its workers, for people."""
        return self.history[-1][1] or "1 worker"


def told(history: Sequence[tuple[int, str]]) -> str:
    """For the lock: empty for one process, from the first step to the last."""
    if len(history) == 1:
        return history[0][1]
    return " → ".join((name or "1 worker") + (f" from step {step + 1}" if step else "") for step, name in history)


def save(
    folder: Path,
    *,
    step: int,
    key: str,
    seconds: float,
    model: "torch.nn.Module",
    optimizers: "Sequence[torch.optim.Optimizer]",
    losses: Sequence[float] = (),
    elastic_key: str | None = None,
    history: Sequence[tuple[int, str]] = ((0, ""),),
    num_tokens: int = 0,
) -> Path | None:
    """Write the checkpoint of a step; afterwards drop all but the last `NUM_KEPT`.

    Of the model, what training changes: trainable parameters and buffers. A full disk loses this save and nothing
    else: it is told, what was there stays, None is returned and the training may go on.

    Args:
        losses: of the steps that are done, nats per target.
        elastic_key: under which another number of workers may go on.
        history: which workers made which steps.

    Raises:
        CheckpointError: the folder cannot be written at all. What was there stays.
    """
    from safetensors import SafetensorError

    final = folder / f"step-{step:08d}"
    beside = folder / f".step-{step:08d}.{os.getpid()}"
    try:
        _begin(beside)
        contents, numbers = _contents(model, optimizers, losses)
        hashes = _write(contents, beside)
        manifest = {"step": step, "key": key, "seconds": seconds, "numbers": numbers, "sha256": hashes}
        manifest |= {"elastic_key": elastic_key, "history": history, "num_tokens": num_tokens}
        _finish(beside, final, manifest)
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


def save_shards(
    folder: Path,
    *,
    step: int,
    key: str,
    seconds: float,
    model: "torch.nn.Module",
    optimizers: "Sequence[torch.optim.Optimizer]",
    losses: Sequence[float],
    elastic_key: str | None,
    history: Sequence[tuple[int, str]],
    world: "World",
    num_tokens: int = 0,
) -> Path | None:
    """As `save`, of a sharded model, by all its workers at once: each writes what it holds, and nothing is gathered.

    A tensor's pieces, in the order of the files, are the whole tensor: so any number of workers can resume. As
    safetensors rather than by `torch.distributed.checkpoint`, whose own format keeps its table of contents as a pickle.

    Raises:
        CheckpointError: a worker cannot write its part; every worker raises it.
    """
    from safetensors import SafetensorError

    from components.training.distributed import from_first, gathered

    final = folder / f"step-{step:08d}"
    beside: Path = from_first(world, folder / f".step-{step:08d}.{os.getpid()}")
    failed: Exception | None = None
    hashes: dict[str, str] = {}
    numbers: dict[str, Any] = {}
    try:
        if world.is_first:
            _begin(beside)
    except OSError as err:
        failed = err
    from_first(world, None)  # the folder is there, or not
    try:
        if failed is None:
            contents, numbers = _contents(model, optimizers, losses)
            if not world.is_first:  # what is not sharded is everywhere the same
                contents = {name: {k: t for k, t in c.items() if _is_piece(t)} for name, c in contents.items()}
            hashes = _write(contents, beside, suffix=f".{world.rank:05d}")
    except (OSError, SafetensorError) as err:
        failed = err
    everyone = gathered(world, (hashes, failed and (str(failed), _errno(failed))))
    try:
        errors = [error for _, error in everyone if error]
        if not errors and world.is_first:
            together = {name: sha for part, _ in everyone for name, sha in part.items()}
            manifest = {"step": step, "key": key, "seconds": seconds, "numbers": numbers, "sha256": together}
            told = {"elastic_key": elastic_key, "history": history, "num_tokens": num_tokens}
            _finish(beside, final, manifest | told)
    except OSError as err:
        errors = [(str(err), _errno(err))]
    errors = from_first(world, errors)
    if not errors:
        return final
    if world.is_first:
        shutil.rmtree(beside, ignore_errors=True)
    what, number = errors[0]
    if number in _FULL:
        log.warning("the checkpoint of step %d is not kept, the disk of %s is full: %s", step, folder, what)
        return None
    raise CheckpointError(
        f"the checkpoint of step {step} cannot be written to {folder}: {what}",
        "free some disk space, then run it again: it resumes",
    )


def latest(folder: Path, *, key: str, elastic_key: str | None = None) -> Checkpoint | None:
    """The last whole checkpoint of this very training; None when there is none. Torn and foreign ones are skipped.

    Args:
        elastic_key: takes one of another number of workers, too.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            own = manifest.pop("manifest_sha256")
            whole = own == _manifest_sha256(manifest) and all(
                _sha256(path / name) == want for name, want in manifest["sha256"].items()
            )
            history = tuple((int(step), str(name)) for step, name in manifest.get("history", ((0, ""),)))
            numbers = int(manifest["step"]), str(manifest["key"]), float(manifest["seconds"])
            found = Checkpoint(path, *numbers, history, int(manifest.get("num_tokens", 0)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            log.warning("%s is torn and skipped: %s", path, err)
            continue
        if not whole:
            log.warning("%s is torn and skipped: its hash is another", path)
        elif found.key == key:
            return found
        elif elastic_key and manifest.get("elastic_key") == elastic_key:
            log.warning("it goes on after step %d, which %s made: the bits will be others", found.step, found.named)
            return found
    return None


def restore(checkpoint: Checkpoint, *, model: "torch.nn.Module", optimizers: "Sequence[torch.optim.Optimizer]") -> None:
    """Put a checkpoint's tensors in place, bit for bit.

    Raises:
        CheckpointError: it does not fit the model.
    """
    import torch

    numbers = json.loads((checkpoint.path / "manifest.json").read_text())["numbers"]
    tensors = _read(checkpoint.path, "model")
    ours = _changing(model)
    if tensors.keys() != ours.keys():
        raise CheckpointError(f"{checkpoint.path} belongs to another model", "remove the folder and run again")
    with torch.no_grad():
        for name, tensor in tensors.items():
            ours[name].copy_(_as_it_lies(tensor, ours[name]))
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Any]] = {}
        params = [p for group in optimizer.param_groups for p in group["params"]]  # as `state_dict` numbers them
        for name, tensor in _read(checkpoint.path, f"optimizer-{i}").items():
            number, field = name.split(".", 1)
            p = params[int(number)]
            state.setdefault(int(number), {})[field] = _as_it_lies(tensor, p) if tensor.shape == p.shape else tensor
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


def _contents(
    model: "torch.nn.Module", optimizers: "Sequence[torch.optim.Optimizer]", losses: Sequence[float]
) -> "tuple[dict[str, dict[str, Tensor]], dict[str, Any]]":
    """File → tensors, and what of the optimizers' state is plain numbers."""
    import torch

    contents = {"model": _changing(model), "losses": {"losses": torch.tensor(losses, dtype=torch.float64)}}
    numbers: dict[str, Any] = {}
    for i, optimizer in enumerate(optimizers):
        tensors, numbers[str(i)] = _split(optimizer)
        contents[f"optimizer-{i}"] = tensors
    return contents, numbers


def _begin(beside: Path) -> None:
    beside.parent.mkdir(parents=True, exist_ok=True)
    for leftover in beside.parent.glob(".step-*"):  # of a killed attempt; one training at a time has this folder
        shutil.rmtree(leftover)
    beside.mkdir()


def _write(contents: "dict[str, dict[str, Tensor]]", beside: Path, *, suffix: str = "") -> dict[str, str]:
    """Write and flush the files; their hashes by name."""
    from safetensors.torch import save_file

    hashes = {}
    for name, tensors in contents.items():
        path = beside / f"{name}{suffix if name != 'losses' else ''}.safetensors"
        if tensors or not suffix:
            here = {k: _piece(t) for k, t in tensors.items()}
            save_file({k: t.detach().cpu().contiguous().clone() for k, t in here.items()}, path)
            hashes[path.name] = _flush_and_hash(path)
    return hashes


def _finish(beside: Path, final: Path, manifest: dict[str, Any]) -> None:
    manifest = json.loads(json.dumps(manifest))  # tuples as they will be read
    manifest |= {"manifest_sha256": _manifest_sha256(manifest)}
    (beside / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, indent=1))
    _flush_and_hash(beside / "manifest.json")
    if final.exists():  # a torn one that was skipped
        shutil.rmtree(final)
    beside.rename(final)
    _flush_folder(final.parent)
    for old in sorted(final.parent.glob("step-*"))[:-NUM_KEPT]:
        shutil.rmtree(old)


def _read(folder: Path, name: str) -> "dict[str, Tensor]":
    """Whole tensors, put together from their pieces where several workers wrote them."""
    import torch
    from safetensors.torch import load_file

    if (folder / f"{name}.safetensors").exists():
        return load_file(folder / f"{name}.safetensors")
    found: dict[str, list[Tensor]] = {}
    for path in sorted(folder.glob(f"{name}.*.safetensors")):  # by rank
        for key, tensor in load_file(path).items():
            found.setdefault(key, []).append(tensor)
    return {key: torch.cat(pieces) if len(pieces) > 1 else pieces[0] for key, pieces in found.items()}


def _piece(tensor: "Tensor") -> "Tensor":
    """What of it this worker holds."""
    return tensor.to_local() if _is_piece(tensor) else tensor  # type: ignore[attr-defined]


def _is_piece(tensor: "Tensor") -> bool:
    """Whether other workers hold the rest of it."""
    return hasattr(tensor, "to_local")


def _as_it_lies(tensor: "Tensor", like: "Tensor") -> "Tensor":
    if not _is_piece(like):
        return tensor
    from components.training.distributed import placed

    return placed(tensor, like)


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
