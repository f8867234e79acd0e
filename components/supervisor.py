"""Starts and watches a table of processes that it is given, and tells where they answer."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import filelock
import psutil

from components.errors import PortTaken, ServiceDown, StackError, WorkspaceBusy
from components.pulse import CHECK_SECONDS, Pulse, Watched, answers
from components.service_logs import prune_run_logs, rotate
from components.settings import PREFIX, Settings, Workspace

MARKER = "_BANYAN_STACK"
"""Environment variable of every process of a stack: the workspace it works on. It is inherited by what
they start, so that a killed stack's leftovers are found, whatever became of their parents."""

MAX_RESTARTS = 6
RESTART_WINDOW_SECONDS = 300.0
LONGEST_PAUSE_SECONDS = 15.0

LOOK_AT_LOGS_SECONDS = 10.0

State = Literal["waiting", "starting", "ready", "done", "down", "failed", "stopped"]
OnEvent = Callable[[str], None]


# ---------------------------------------------------------------- where things answer


@dataclass(frozen=True)
class Addresses:
    """Root URLs, without a trailing slash. Asking for one that nobody knows raises ServiceDown."""

    known: dict[str, str] = field(default_factory=dict)

    @property
    def prefect(self) -> str:
        return self._get("prefect")

    @property
    def mlflow(self) -> str:
        return self._get("mlflow")

    @property
    def gateway(self) -> str:
        return self._get("gateway")

    @property
    def dashboard(self) -> str:
        return self._get("dashboard")

    def _get(self, name: str) -> str:
        if name in self.known:
            return self.known[name]
        remedy = "start the stack with: banyan up"
        if f"{name}_url" in Settings.model_fields:
            remedy += f" (or set {PREFIX}{name.upper()}_URL)"
        raise ServiceDown(f"there is no address of {name}", remedy)


def addresses(settings: Settings) -> Addresses:
    """Where the services are: what the settings say, else what the running stack of the workspace says.

    Raises:
        ServiceDown: neither is there, or the stack that wrote its addresses is gone.
    """
    by_hand = {"prefect": settings.prefect_url, "mlflow": settings.mlflow_url, "gateway": settings.gateway_url}
    known = {name: url.rstrip("/") for name, url in by_hand.items() if url}
    stack = read_stack(settings)
    if stack and is_running(stack):
        return Addresses({**stack["urls"], **known})
    if not known:
        reason = f"process {stack['pid']} that ran it is gone" if stack else f"no {settings.workspace.stack_file}"
        raise ServiceDown(f"the stack is not running ({reason})", "start it with: banyan up")
    return Addresses(known)


def read_stack(settings: Settings) -> dict[str, Any] | None:
    """What a stack wrote of itself in the workspace's `stack_file`, or None when there is none."""
    return _read(settings.workspace)


def _read(workspace: Workspace) -> dict[str, Any] | None:
    try:
        stack: dict[str, Any] = json.loads(workspace.stack_file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stack  # renamed into place by its writer: never torn


def is_running(stack: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this still runs: same id and, since ids come again, same birth.

    The birth is counted from the machine's start where it can be: psutil's is a time of day, and moves when somebody
    sets the clock, so that a stack would be taken for gone.
    """
    try:
        process = psutil.Process(stack["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        ticks = _ticks(process.pid)
        if ticks and stack.get("started_ticks"):
            return bool(ticks == stack["started_ticks"])
        return abs(process.create_time() - float(stack["started"])) < 1.0
    except psutil.NoSuchProcess:
        return False


def _ticks(pid: int) -> int | None:
    """Clock ticks from the machine's start to the process's (proc(5)); None where no such thing is told."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


# ---------------------------------------------------------------- one stack a workspace


def claim(workspace: Workspace) -> filelock.BaseFileLock:
    """The workspace's one lock on running a stack; it goes when this process does, however it ends.

    Raises:
        WorkspaceBusy: another process runs a stack on it.
        StackError: it cannot be written.
    """
    lock = filelock.FileLock(workspace.locks / "stack.lock")
    try:
        workspace.locks.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except OSError as err:
        if isinstance(err, filelock.Timeout):
            raise _busy(workspace) from err
        raise _unwritable(workspace, err) from err
    return lock


def _busy(workspace: Workspace) -> WorkspaceBusy:
    stack = _read(workspace)
    who = f"process {stack['pid']}" if stack else "another process"
    return WorkspaceBusy(
        f"{who} already runs a stack on {workspace.root}",
        f"use that one, stop it with `banyan down`, or set {PREFIX}WORKSPACE to another folder",
    )


def _unwritable(workspace: Workspace, err: OSError) -> StackError:
    return StackError(
        f"the workspace {workspace.root} cannot be written: {err.strerror or err}",
        f"free some space or mend its owner, or set {PREFIX}WORKSPACE to another folder",
    )


def leftovers(workspace: Workspace) -> list[psutil.Process]:
    """Processes that bear the workspace's marker, without this one and those that it runs in."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # gone in between, or another user's
            if process.pid not in own and process.environ().get(MARKER) == str(workspace.root):
                found.append(process)
    return found


def end_leftovers(workspace: Workspace, *, grace_seconds: float = 3.0) -> int:
    """Ends what a stack of this workspace left behind; the number of processes. Hold the claim while calling."""
    ended = set()
    for _ in range(5):  # a dying process may still have started another
        found = leftovers(workspace)
        if not found:
            break
        ended |= {process.pid for process in found}
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        for process in psutil.wait_procs(found, timeout=grace_seconds)[1]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=grace_seconds)
    return len(ended)


def free_port(wanted: int, *, host: str, taken: Iterable[int] = (), attempts: int = 100) -> int:
    """`wanted`, or the next port after it that nothing listens on.

    Raises:
        PortTaken: none of the next `attempts` ports is free.
    """
    avoid = set(taken)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(wanted, min(wanted + attempts, 65536)):
        if port in avoid:
            continue
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed one's TIME_WAIT is no owner
            probe.bind((host, port))
            return port
    raise PortTaken(f"ports {wanted} to {wanted + attempts - 1} on {host} are all taken", "free one, or set another")


# ---------------------------------------------------------------- the table and its watch


@dataclass(frozen=True)
class Service:
    """One row of the table of processes."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's environment."""
    url: str | None = None
    """Root URL that clients are told."""
    health_url: str | None = None
    """Ready when it answers 200; without one, ready as soon as it runs."""
    depends_on: tuple[str, ...] = ()
    """Services that must be ready (one-shots: done) before this one is started."""
    one_shot: bool = False
    """Runs once, to its end, at every start of the stack."""
    stop_signal: signal.Signals = signal.SIGTERM
    start_seconds: float = 120.0
    """How long it may take to become ready (one-shots: to end)."""
    is_well: Callable[[], bool] | None = None
    """Asked beside `health_url` while it is ready; False where it is known to hang. It must not raise."""
    leaves_children: bool = False
    """What it has started works on without it; else that ends with it, or it would keep its port."""


@dataclass
class _Run:
    """The living side of a service."""

    service: Service
    log: Path
    state: State = "waiting"
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: list[float] = field(default_factory=list)
    num_restarts: int = 0
    not_before: float = 0.0


class Supervisor:
    """Runs a table of services until `stop`; restarts what dies, with growing pauses and a limit.

    The claim on the workspace is taken by the caller, because ports are chosen and leftovers ended
    between the claim and the table; `stop` gives it back.
    """

    def __init__(
        self,
        services: Iterable[Service],
        *,
        workspace: Workspace,
        lock: filelock.BaseFileLock,
        on_event: OnEvent = lambda _: None,
        hung_checks: int = 0,
    ) -> None:
        """`hung_checks`: after how many missed checks in a row one that lives is restarted; 0: never."""
        self._workspace = workspace
        self._hung_checks = hung_checks
        self._pulse = Pulse(self._watched)
        self._lock = lock
        self._on_event = on_event
        self._runs = {s.name: _Run(s, workspace.logs / f"{s.name}.log") for s in services}
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._written: list[tuple[State, int]] = []
        self._is_well = True

    @property
    def urls(self) -> dict[str, str]:
        return {name: run.service.url for name, run in self._runs.items() if run.service.url}

    def _watched(self) -> list[Watched]:
        ready = [(run.service, run.process) for run in self._runs.values() if run.state == "ready" and run.process]
        return [Watched(process.pid, service.health_url, service.is_well) for service, process in ready]

    def start(self) -> None:
        """Starts everything in order of dependence and returns when all are ready; then watches in a thread.

        Raises:
            ServiceDown: a service failed to start; what had been started is stopped, and its log's end is told.
            StackError: the workspace cannot be written.
        """
        try:
            self._workspace.logs.mkdir(parents=True, exist_ok=True)
            prune_run_logs(self._workspace)
            while any(run.state not in ("ready", "done") for run in self._runs.values()):
                self._look()
                failed = next((run for run in self._runs.values() if run.state == "failed"), None)
                if failed is not None:
                    raise ServiceDown(
                        f"{failed.service.name} did not start:\n{_tail(failed.log)}", f"the whole log is {failed.log}"
                    )
                time.sleep(0.05)
        except OSError as err:
            self.stop()
            raise _unwritable(self._workspace, err) from err
        except BaseException:
            self.stop()
            raise
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()
        if self._hung_checks:
            self._pulse.start()

    def stop(self, *, grace_seconds: float = 8.0) -> None:
        """Ends every process, last started first, then whatever they left, and gives the workspace back."""
        self._stopping.set()
        self._pulse.stop()
        if self._watcher is not None:
            self._watcher.join()
        for run in reversed(self._runs.values()):
            if run.process is not None and run.process.poll() is None:
                _signal_group(run.process, run.service.stop_signal)
                try:
                    run.process.wait(grace_seconds)
                except subprocess.TimeoutExpired:
                    _signal_group(run.process, signal.SIGKILL)
                    run.process.wait()
            run.state = "stopped"
        end_leftovers(self._workspace, grace_seconds=1.0)
        self._workspace.stack_file.unlink(missing_ok=True)
        self._lock.release()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a log on a full disk, a terminal that is gone: no reason to stop watching
            self._on_event(line)

    def _watch(self) -> None:
        looked_at = float("-inf")
        while not self._stopping.wait(0.25):
            try:
                self._look()
                self._is_well = True
            except OSError as err:  # a full disk, no more processes: they pass, and somebody must still be watching
                if self._is_well:
                    self._say(f"the supervisor cannot do its work, and tries again: {err}")
                self._is_well = False
            if time.monotonic() - looked_at >= LOOK_AT_LOGS_SECONDS:
                looked_at = time.monotonic()
                for run in self._runs.values():
                    rotate(run.log)

    def _look(self) -> None:
        """One look at every service: start what may start, see who became ready, who died."""
        for run in self._runs.values():
            if run.state in ("waiting", "down"):
                if time.monotonic() >= run.not_before and all(
                    self._runs[name].state in ("ready", "done") for name in run.service.depends_on
                ):
                    self._launch(run)
            elif run.state in ("starting", "ready"):
                self._check(run)
        now = [(run.state, run.num_restarts) for run in self._runs.values()]
        if now != self._written:
            self._write()
            self._written = now

    def _launch(self, run: _Run) -> None:
        service = run.service
        with run.log.open("ab") as log:
            run.process = _spawn(service, log, self._workspace)
        run.state, run.started = "starting", time.monotonic()

    def _check(self, run: _Run) -> None:
        service, process = run.service, run.process
        assert process is not None
        code = process.poll()
        seconds = time.monotonic() - run.started
        if code is not None and service.one_shot and code == 0:
            run.state = "done"
        elif code is not None:
            self._died(run, f"ended with code {code}")
        elif run.state == "starting" and not service.one_shot and answers(service.health_url):
            run.state = "ready"
            self._say(f"{service.name} is ready after {seconds:.1f} s" + (f": {service.url}" if service.url else ""))
        elif run.state == "starting" and seconds > service.start_seconds:
            self._end(process)
            self._died(run, f"was not ready in {service.start_seconds:.0f} s")
        elif run.state == "ready" and self._pulse.missed(process.pid) >= self._hung_checks > 0:
            self._end(process)
            self._died(run, f"hung ({self._hung_checks} checks in a row, {CHECK_SECONDS:.0f} s each, went unanswered)")

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def _died(self, run: _Run, how: str) -> None:
        if run.process is not None and not run.service.leaves_children:
            _signal_group(run.process, signal.SIGKILL)
        now = time.monotonic()
        run.restarts = [at for at in run.restarts if now - at < RESTART_WINDOW_SECONDS] + [now]
        # A start that fails three times fails alike the fourth time; a service that has served gets more patience.
        limit = 2 if run.state == "starting" and self._watcher is None else MAX_RESTARTS
        if len(run.restarts) > limit:
            run.state = "failed"
            self._say(f"{run.service.name} {how} and is given up after {limit} restarts; its log: {run.log}")
            return
        pause = min(0.25 * 2 ** (len(run.restarts) - 1), LONGEST_PAUSE_SECONDS)
        run.state, run.not_before = "down", now + pause
        run.num_restarts += 1
        self._say(f"{run.service.name} {how}; restarting it in {pause:.1f} s")

    def _write(self) -> None:
        services = [
            {
                "name": name,
                "state": run.state,
                "pid": run.process.pid if run.process and run.process.poll() is None else None,
                "url": run.service.url,
                "health_url": run.service.health_url,
                "restarts": run.num_restarts,
                "log": str(run.log),
            }
            for name, run in self._runs.items()
        ]
        own = psutil.Process()
        content = {
            "pid": own.pid,
            "started": own.create_time(),
            "started_ticks": _ticks(own.pid),
            "workspace": str(self._workspace.root),
            "urls": self.urls,
            "services": services,
        }
        temporary = self._workspace.stack_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=2), "utf-8")
        temporary.replace(self._workspace.stack_file)


def _spawn(service: Service, log: IO[bytes], workspace: Workspace) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        service.argv,
        env={**os.environ, **service.env, MARKER: str(workspace.root)},
        cwd=workspace.root,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone, which stops the rest in order
    )


def _signal_group(process: subprocess.Popen[bytes], which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, which)


def _tail(log: Path, *, num_lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-num_lines:])
    except FileNotFoundError:
        return "(no log)"
