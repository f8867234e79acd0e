"""A full disk has many words: whatever failed for it, a step says so in one, and is tried again."""

import errno
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from components.errors import DiskFull
from components.settings import load_settings

P = ParamSpec("P")
R = TypeVar("R")

NO_ROOM_BYTES = 4_000_000
"""With less a server's own error may be the only word of it: it cannot write its log either."""
WORDS = ("No space left on device", "disk is full", "Disk quota exceeded")
"""Of safetensors, SQLite and others that raise no OSError."""


def told_when_full(fn: Callable[P, R]) -> Callable[P, R]:
    """The same, but that it raises DiskFull where it failed for want of room.

    Raises:
        DiskFull: there is no room; the error before is its cause.
    """

    @functools.wraps(fn)
    def wrapped(*args: P.args, **given: P.kwargs) -> R:
        try:
            return fn(*args, **given)
        except Exception as err:
            root = load_settings().workspace.root
            if is_for_want_of_room(err) or _free_bytes(root) < NO_ROOM_BYTES:
                raise DiskFull(
                    f"the disk of {root} is full ({type(err).__name__}: {str(err)[:200]})",
                    "free some space and start it again: it goes on where it was",
                ) from err
            raise

    return wrapped


def is_for_want_of_room(err: BaseException) -> bool:
    """Whether the error, or one that it came of, says so."""
    seen: BaseException | None = err
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(word in str(seen) for word in WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _free_bytes(root: Path) -> int:
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return NO_ROOM_BYTES
