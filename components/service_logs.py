"""Logs of services and of flow runs: set aside when they have grown, deleted when they are old."""

import contextlib
import os
import shutil
import time
from pathlib import Path

from components.settings import Workspace

LARGEST_LOG_BYTES = 20_000_000
NUM_OLD_LOGS = 3
"""Of each service, beside the one that is written: `<service>.1.log` is the newest."""
RUN_LOG_DAYS = 30


def rotate(log: Path, *, largest_bytes: int = LARGEST_LOG_BYTES) -> bool:
    """Sets a log aside that has grown too large, while its service writes on; whether it did.

    The service keeps its file: what is in it is copied, and the file cut to nothing. What is written between the
    two is lost. It is opened to append, so that the next line stands at its beginning. On a full disk nothing is cut.
    """
    try:
        if log.stat().st_size <= largest_bytes:
            return False
        for number in range(NUM_OLD_LOGS, 1, -1):
            older = log.with_suffix(f".{number - 1}.log")
            if older.exists():
                older.replace(log.with_suffix(f".{number}.log"))
        beside = log.with_suffix(".rotating")
        shutil.copyfile(log, beside)
        beside.replace(log.with_suffix(".1.log"))
        os.truncate(log, 0)
    except OSError:
        return False
    return True


def prune_run_logs(workspace: Workspace, *, days: float = RUN_LOG_DAYS) -> int:
    """Deletes what flow runs wrote to files of their own more than `days` ago; Prefect keeps their logs."""
    num_deleted = 0
    for path in (workspace.logs / "runs").glob("*.log"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > days * 86_400:
                path.unlink()
                num_deleted += 1
    return num_deleted
