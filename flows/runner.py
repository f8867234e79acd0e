"""A process that has imported what flows need, and becomes a flow run by forking: 0.1 s instead of 3 to 5 s of imports.

The worker starts one before it starts itself (flows/worker.py), and the process that Prefect's worker starts for a run
(flows/engine.py) asks it. What decides a run is its environment and the code; hence the runner refuses, and the run
imports for itself,

- where a variable that is not Prefect's differs from the runner's own, and
- where a source file of ours has changed since the runner read it. It then starts itself anew: a lock hashes the files
  as they are, so that code of before must not run under it.

torch (130 MB) and Great Expectations (280 MB) are not imported beforehand: a run that finds nothing to do needs
neither. Nothing is computed before a fork, no connection is open and no thread of ours runs.
"""

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from flows.engine import ENDED, FORKED, REFUSED, RUNNER, run

WORKER_PID = "_BANYAN_WORKER_PID"
"""Environment variable of a runner that started anew: the worker that it has started before."""

LOOK_SECONDS = 0.5
LONGEST_SOCKET_PATH = 100
"""Bytes; Linux takes 107."""
ROOTS = ("components", "flows")


class Runner:
    """Listens from the moment it is made; `serve` forks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o077)  # this user's processes alone
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._socket.listen(64)  # who asks while it still imports waits here
        self._sources = sources()
        os.environ[RUNNER] = str(path)

    def close(self) -> None:
        """Of a fork that is no runner."""
        self._socket.close()

    def serve(self, worker: int) -> "Asked | int":
        """In the runner: the exit code of process `worker`, once it has ended. In each fork: what was asked of it."""
        while True:
            if (code := _ended(worker)) is not None:
                self.path.unlink(missing_ok=True)
                return code
            if not select.select([self._socket], [], [], LOOK_SECONDS)[0]:
                continue
            connection, _ = self._socket.accept()
            asked = Asked.read(connection)
            if asked is None:
                connection.close()
            elif sources() != self._sources:
                asked.say(REFUSED)
                self._anew(worker)
            elif not self._can(asked.env):
                asked.say(REFUSED)
                asked.connection.close()
            elif os.fork() == 0:
                self._socket.close()
                return asked
            else:
                connection.close()

    def _can(self, env: dict[str, str]) -> bool:
        """Whether only Prefect's own variables differ: those are read again."""
        names = {name for name in env.keys() | os.environ.keys() if not name.startswith("PREFECT")}
        return all(env.get(name) == os.environ.get(name) for name in names)

    def _anew(self, worker: int) -> None:
        """The same process with the code of now; its children stay its children."""
        print("the sources have changed: the runner starts anew", flush=True)
        argv = [sys.executable, "-m", "flows.worker", *sys.argv[1:]]
        os.execve(sys.executable, argv, {**os.environ, WORKER_PID: str(worker)})  # noqa: S606


class Asked:
    """A run that somebody wants to have; the connection is as long as the life of who asked."""

    def __init__(self, connection: socket.socket, env: dict[str, str], folder: str) -> None:
        self.connection, self.env, self.folder = connection, env, folder

    @classmethod
    def read(cls, connection: socket.socket) -> "Asked | None":
        connection.settimeout(10.0)
        try:
            with connection.makefile("r", encoding="utf-8") as file:
                said: dict[str, Any] = json.loads(file.readline())
            return cls(connection, said["env"], said["folder"])
        except (OSError, ValueError, KeyError):  # who asked is gone
            return None

    def say(self, word: str) -> None:
        with contextlib.suppress(OSError):
            self.connection.sendall(f"{word}\n".encode())

    def become(self) -> None:
        """In the fork: that run's environment and folder, and its fate tied to that of who asked.

        The kernel kills this process the moment the connection ends: it never outlives the one that Prefect knows.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.connection.settimeout(None)
        fd = self.connection.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([fd], [], [], 0)[0]:  # it ended before that
            os._exit(1)
        self.say(f"{FORKED} {os.getpid()}")
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.folder)
        sys.argv = ["prefect.engine"]  # which would take an argument of the worker's for a run's id

    def run(self) -> int:
        """Prefect's engine for that run, with its settings; the exit code."""
        from prefect.context import SettingsContext, get_settings_context
        from prefect.settings import Settings

        self.become()
        code = 1
        try:
            with SettingsContext(profile=get_settings_context().profile, settings=Settings()):
                run()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            self.say(f"{ENDED} {code}")
        return code


def warm() -> None:
    """Imports what every run needs, and reads the sources that keys are made of."""
    import mlflow.tracking  # noqa: F401  # 40 MB, without torch
    import prefect.engine

    from components.evaluation import candidate
    from components.training.lock import code_sha256
    from flows import policies
    from flows.deployments import DEPLOYMENTS, load_flow

    for deployment in DEPLOYMENTS:
        load_flow(deployment.entrypoint)
    for module in policies.KEYED_MODULES:
        code_sha256(module)
    del prefect, candidate
    gc.collect()
    gc.freeze()  # else the collector writes into pages that forks share


def sources() -> dict[str, tuple[int, int]]:
    """Every source file of ours → when it was written, and its size."""
    from importlib.util import find_spec

    found = {}
    for root in ROOTS:
        spec = find_spec(root)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in Path(folder).rglob("*.py"):
                with contextlib.suppress(FileNotFoundError):
                    about = path.stat()
                    found[str(path)] = (about.st_mtime_ns, about.st_size)
    return found


def can_serve(path: Path) -> bool:
    """Whether there can be a runner here: Linux's signals on sockets, and a path that a socket takes."""
    return sys.platform == "linux" and len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def _ended(worker: int) -> int | None:
    """The worker's exit code, if it has ended; every child that has is buried on the way."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 1
        if pid == 0:
            return None
        if pid == worker:
            return os.waitstatus_to_exitcode(status)
