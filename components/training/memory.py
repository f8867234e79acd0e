"""A batch that does not fit the device's memory: micro-batches are divided, and their gradients add up as before."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import TrainingError

if TYPE_CHECKING:
    from components.training.loop import Batch

log = logging.getLogger(__name__)

NOTE = "division.json"


class Division:
    """Into how many parts each step's micro-batches go: one, until a step does not fit.

    It is written down beside the checkpoints, by step, before the step is tried again: so a resumed training divides
    the same steps in the same way and ends with the same bits.
    """

    def __init__(self, folder: Path, *, key: str) -> None:
        self._path, self._key = folder / NOTE, key
        self._from: dict[int, int] = {}
        try:
            kept = json.loads(self._path.read_text("utf-8"))
            if kept["key"] == key:
                self._from = {int(step): int(parts) for step, parts in kept["from_step"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    @property
    def told(self) -> dict[str, int]:
        """For the lock: `step N` → into how many parts from that step on, of steps 1, 2, …"""
        return {f"step {step + 1}": parts for step, parts in sorted(self._from.items())}

    def parts(self, step: int) -> int:
        """Of step 0, 1, …"""
        return max((parts for first, parts in self._from.items() if first <= step), default=1)

    def halve(self, step: int, *, rows: int, name: str) -> None:
        """From this step on twice as many parts; `rows` are those of its largest micro-batch.

        Raises:
            TrainingError: a single row does not fit.
        """
        parts = self.parts(step)
        if parts >= rows:
            raise TrainingError(
                f"step {step + 1} of {name}: not even one row fits the device's memory",
                "lower max_length_tokens, set gradient_checkpointing: true, or take a smaller model",
            )
        self._from[step] = 2 * parts
        self._write()
        log.warning(
            "step %d of %s does not fit the device's memory: from here on %d rows at a time and %d times as many "
            "accumulation steps; the same rows make a step",
            step + 1,
            name,
            -(-rows // (2 * parts)),
            2 * parts,
        )

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_text(json.dumps({"key": self._key, "from_step": self._from}), "utf-8")
        beside.replace(self._path)


CHECKPOINTS = "checkpoints"
"""Of a run's folder; of an ensemble each member has its own."""


def impose(told: "Mapping[str, int]", *, run_dir: Path, key: str) -> None:
    """Have a training that has not begun divide the steps that another one divided, though all may fit here."""
    for place, parts in told.items():
        member, _, step = place.rpartition("step ")
        division = Division(run_dir / member.rstrip(", ") / CHECKPOINTS, key=key)
        division._from[int(step) - 1] = parts
        division._write()


def found(*, run_dir: Path, key: str) -> dict[str, int]:
    """What a training that has not ended has divided so far, as the lock tells it."""
    told = {}
    for file in sorted(run_dir.rglob(NOTE)):
        member = file.parent.parent.relative_to(run_dir).as_posix()
        for at, parts in Division(file.parent, key=key).told.items():
            told[at if member == "." else f"{member}, {at}"] = parts
    return told


def divide(batches: "Sequence[Batch]", parts: int) -> "list[Batch]":
    """Each batch in at most so many parts of nearly equal numbers of rows."""
    if parts == 1:
        return list(batches)
    found: list[Batch] = []
    for batch in batches:
        pieces = {name: tensor.chunk(parts) for name, tensor in batch.items()}
        found += [dict(zip(pieces, row, strict=True)) for row in zip(*pieces.values(), strict=True)]
    return found


@contextlib.contextmanager
def explained(what: str, *, remedy: str) -> "Iterator[None]":
    """The allocator's error as one that says what did not fit, where no smaller part of a batch would help.

    Raises:
        TrainingError: it did not fit.
    """
    try:
        yield
    except RuntimeError as err:
        if not is_out_of_memory(err):
            raise
        raise TrainingError(f"{what} does not fit the device's memory", remedy) from err


def is_out_of_memory(err: RuntimeError) -> bool:
    """Whether the device, or the machine's allocator, had no more to give."""
    import torch

    return isinstance(err, torch.OutOfMemoryError) or "can't allocate memory" in str(err)
