"""What a training draws: counted by the processor (RAPL) or the graphics card (NVML) where they do, else estimated.

RAPL's counters are those of whole processor packages: what else the machine does meanwhile is in them. They wrap around
after minutes to hours, so they are read every half minute. NVML counts millijoules since the driver was loaded.
"""

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from components.training import hardware, turns

POWERCAP = Path("/sys/class/powercap")
READ_EVERY_SECONDS = 30.0
_NVML = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class Energy:
    """Joules, and where the number comes from: `rapl`, `nvml`, both, or `estimate: …`."""

    joules: float
    source: str


@dataclass
class _Package:
    """A processor package's counter, in microjoules."""

    file: Path
    wraps_at: int
    last: int
    total: int = 0

    def read(self) -> None:
        now = int(self.file.read_text())
        self.total += now - self.last if now >= self.last else now + self.wraps_at - self.last
        self.last = now


class Meter:
    """Counts while the block runs; `energy` afterwards says what it came to."""

    def __init__(
        self,
        *,
        device: str,
        num_threads: int,
        powercap: Path = POWERCAP,
        board: "Callable[[], int | None] | None" = None,
        every_seconds: float = READ_EVERY_SECONDS,
        num_boards: int = 1,
        is_here: bool = True,
    ) -> None:
        """What a training on `device` will draw.

        Args:
            device: as the lock names it: `cpu`, or the graphics card.
            num_threads: of all workers.
            board: gives the graphics cards' counter in millijoules, or None; default: NVML's.
            num_boards: graphics cards that it uses: this process's own, or the first so many.
            is_here: whether it runs on this machine, whose counters alone can be read.
        """
        self._device, self._num_threads, self._num_boards = device, num_threads, num_boards
        self._packages = list(_packages(powercap)) if is_here else []
        counts = device != "cpu" and is_here
        self._board = board or (partial(boards_millijoules, num_boards) if counts else lambda: None)
        self._every = every_seconds
        self._done = threading.Event()
        self._seconds = 0.0

    def __enter__(self) -> "Meter":
        self._started = time.monotonic()
        self._board_before = self._board()
        self._reader = threading.Thread(target=self._read_on, daemon=True, name="energy")
        if self._packages:
            self._reader.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._done.set()
        if self._reader.is_alive():
            self._reader.join(5)
        self._seconds = time.monotonic() - self._started
        self._board_after = self._board()
        self._read()

    def energy(self, *, seconds: float | None = None) -> Energy:
        """Of the block; or of a training that took `seconds` over all attempts, of which this one was the last: then
        what was measured is stretched to them."""
        whole = self._seconds if seconds is None else seconds
        stretch = whole / self._seconds if self._seconds > 0 else 1.0
        cores = sum(one.total for one in self._packages) / 1e6
        before, after = self._board_before, self._board_after
        board = (after - before) / 1e3 if before is not None and after is not None and after >= before else None
        is_cpu = self._device == "cpu"
        if cores > 0 and (is_cpu or board is not None):
            boards = "the board" if self._num_boards == 1 else f"{self._num_boards} boards"
            source = "rapl: whole processor packages" + ("" if board is None else f" + nvml: {boards}")
            return Energy((cores + (board or 0.0)) * stretch, source)
        gb = hardware.memory_gb()
        if board is not None:
            rest = hardware.watts(device="cpu", num_threads=self._num_threads, memory_gb=gb) * self._seconds
            boards = "the board" if self._num_boards == 1 else f"{self._num_boards} boards"
            return Energy((board + rest) * stretch, f"nvml: {boards}; the cores beside estimated")
        watts = hardware.watts(
            device=self._device, num_threads=self._num_threads, memory_gb=gb, num_boards=self._num_boards
        )
        assumed = f"{self._num_threads} cores at {hardware.WATTS_A_CPU_CORE:.0f} W, {gb:.0f} GB of memory"
        if not is_cpu:
            assumed += f", {self._num_boards} × {self._device} at its board's limit where that is known"
        return Energy(watts * whole, f"estimate: {assumed}")

    def _read_on(self) -> None:
        while not self._done.wait(self._every):
            self._read()

    def _read(self) -> None:
        try:
            for package in self._packages:
                package.read()
        except (OSError, ValueError):  # taken away meanwhile: then nothing was measured
            self._packages = []


def _packages(powercap: Path) -> Iterator[_Package]:
    """The packages' counters that may be read: only root may on most kernels (CVE-2020-8694)."""
    for folder in sorted(powercap.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:  # `intel-rapl:0:0` is a part of `intel-rapl:0`
            with contextlib.suppress(OSError, ValueError):
                wraps_at = int((folder / "max_energy_range_uj").read_text())
                file = folder / "energy_uj"
                yield _Package(file, wraps_at, int(file.read_text()))


def boards_millijoules(num_boards: int) -> int | None:
    """The counters of a training's CUDA devices together: of one the current device's, of several the first ones', as
    `distributed.joined` gives them to workers. None where NVML, or one of the boards, does not count."""
    with contextlib.suppress(OSError, RuntimeError, AttributeError, ValueError):
        import torch

        if not torch.cuda.is_available():
            return None
        counters = [_counter(uuid) for uuid in turns.boards(num_boards)]
        counted = [one for one in counters if one is not None]
        return sum(counted) if len(counted) == num_boards else None
    return None


def _counter(uuid: str) -> int | None:
    """A board's, in millijoules."""
    nvml = ctypes.CDLL(_NVML)
    if nvml.nvmlInit_v2():
        return None
    board, counted = ctypes.c_void_p(), ctypes.c_ulonglong()
    try:
        failed = nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(board))
        failed = failed or nvml.nvmlDeviceGetTotalEnergyConsumption(board, ctypes.byref(counted))
        return None if failed else int(counted.value)
    finally:
        nvml.nvmlShutdown()
