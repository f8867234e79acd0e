"""A PostgreSQL of the tests' own, out of the programs that the machine has."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

PATIENCE_SECONDS = 60.0


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`; Debian keeps them off the path."""
    folders = [Path(found).parent for name in ("initdb", "postgres") if (found := shutil.which(name))]
    if asked := shutil.which("pg_config"):
        told = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(told.stdout.strip()))
    return next((one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()), None)


def missing() -> str:
    """Why there can be no server here; empty where there can."""
    if programs() is None:
        return "no initdb and postgres on this machine (apt install postgresql | brew install postgresql)"
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The URL of a fresh server on a socket of its own, so that no port is taken; it ends with the block.

    It also ends when this process is killed: the shell between them waits for the end of a pipe that we hold.
    """
    bin_dir = programs()
    assert bin_dir is not None
    as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pg-") as name, (Path(name) / "log").open("wb") as log:
        if as_user:
            shutil.chown(name, "postgres", "postgres")
        data = f"{name}/data"
        common = {"cwd": name, "stdout": log, "stderr": subprocess.STDOUT, **as_user}
        initdb = [bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
        subprocess.run(initdb, check=True, **common)
        # Nothing here outlives the session, so nothing need reach the disk.
        server = [bin_dir / "postgres", "-D", data, "-k", name, "-c", "listen_addresses=", "-c", "fsync=off"]
        server += ["-c", "autovacuum=off", "-c", "shared_buffers=16MB"]
        script = '"$@" & read -r _; kill -INT $!; wait'
        shell = subprocess.Popen(["sh", "-c", script, "sh", *server], stdin=subprocess.PIPE, **common)
        try:
            url = f"postgresql+psycopg://postgres@/postgres?host={name}"
            _await(url, Path(name) / "log")
            yield url
        finally:
            shell.communicate(timeout=PATIENCE_SECONDS)


def _await(url: str, log: Path) -> None:
    engine = create_engine(url)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            engine.connect().close()
            return
        except OperationalError:
            if time.monotonic() > give_up:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text('utf-8')}") from None
            time.sleep(0.05)
        finally:
            engine.dispose()
