"""One training at a time on a device: the second one waits for its turn.

A GPU is known by its UUID, in a folder that all workspaces of a user on this machine share: two GPUs of one make train
side by side, and two workspaces on one GPU take turns. The CPU's turn is a workspace's: its cores are shared by the
system, and two workspaces that train there at once only get slower, where two on a GPU run out of its memory.
"""

import contextlib
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from components.errors import TrainingError
from components.settings import Workspace

log = logging.getLogger(__name__)

TEMPORARY = Path("/tmp")  # noqa: S108  # not TMPDIR: a batch system gives each of its jobs another
FILE_MODE = 0o1600
"""With the sticky bit those who tidy temporary folders leave a file alone, however old (XDG Base Directory
Specification, `$XDG_RUNTIME_DIR`; systemd-tmpfiles)."""


@contextlib.contextmanager
def alone_on(device: str, *, workspace: Workspace, num_devices: int = 1) -> Iterator[None]:
    """Holds `cpu` or `cuda` for one training; the lock goes with the process, however that ends.

    Args:
        num_devices: GPUs that it takes; the current one, or the first ones.

    Raises:
        TrainingError: the folder of the GPUs' locks is somebody else's.
    """
    if device == "cuda":
        folder, names = of_this_user(), sorted(boards(num_devices))  # in one order, or two would wait for each other
    else:
        folder, names = workspace.locks, [device]
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        for name in names:
            file = folder / f"device-{name}.lock"
            lock = filelock.FileLock(file)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                log.info("another training holds %s: waiting for it", name)
                lock.acquire(poll_interval=0.5)
            held.callback(lock.release)
            file.chmod(FILE_MODE)
        yield


def boards(num_devices: int) -> list[str]:
    """UUIDs of the GPUs that a training takes, as the driver gives them."""
    import torch

    taken = [torch.cuda.current_device()] if num_devices == 1 else range(num_devices)
    return [board(index) for index in taken]


def board(index: int) -> str:
    """The UUID of a CUDA device, as NVML knows it."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(index).uuid}"


def of_this_user() -> Path:
    """The folder of this user's locks on this machine.

    Raises:
        TrainingError: something else of that name is there, which another user may have put there.
    """
    base = TEMPORARY if os.access(TEMPORARY, os.W_OK) else Path(tempfile.gettempdir())
    folder = base / f"banyan-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise TrainingError(f"{folder} is not a folder that only you may write to", "remove it; it is made anew")
    return folder
