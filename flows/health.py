"""What is half broken in an installation, why, and what mends it: for `banyan status` and `banyan doctor`.

Looks only. Whatever does not answer is a finding, never an error, and is not asked a second time.
"""

import contextlib
import shutil
import sqlite3
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from components.errors import BanyanError
from components.pulse import answers
from components.settings import Settings
from components.supervisor import addresses, is_running, leftovers, read_stack

ANSWER_SECONDS = 3.0
LEAST_DISK_GB = 0.5
"""Below, a training's next checkpoint or MLflow's next artefact may not fit."""
RUN_ID = "PREFECT__FLOW_RUN_ID"
"""Prefect's own variable in a flow run's process."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    part: str
    what: str
    """What is wrong and, where it can be told, why."""
    remedy: str
    level: str = "missing"
    """missing (something does not work), or note (it will not for long, or mends itself)."""

    def __str__(self) -> str:
        return f"{self.part}: {self.what}  → {self.remedy}"


def examine(settings: Settings) -> list[Finding]:
    """Everything that is found, what others depend on first."""
    stack = read_stack(settings)
    runs = bool(stack and is_running(stack))
    found = [*_disk(settings), *_stack(settings, stack, runs=runs)]
    silent = {one.part for one in found}
    found += _ledger(settings)
    try:
        at = addresses(settings)
    except BanyanError:
        return found
    from flows.health_services import gateway, prefect

    if "prefect" in at.known and "prefect" not in silent:
        found += prefect(at, worker_seconds=None if "worker" in silent or not runs else _age_of("worker", stack))
    if "gateway" in at.known and "gateway" not in silent:
        found += gateway(at, settings)
    return found


# ---------------------------------------------------------------- this machine


def _disk(settings: Settings) -> Iterator[Finding]:
    root = settings.workspace.root
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    if root.exists() and free < LEAST_DISK_GB:
        yield Finding(
            "disk",
            f"{free:.2f} GB are free where {root} is: what does not fit is refused, and trainings stop at a checkpoint",
            "free some space; what was stopped goes on when it is started again",
        )


def _stack(settings: Settings, stack: Mapping[str, Any] | None, *, runs: bool) -> Iterator[Finding]:
    if stack is None:
        if left := leftovers(settings.workspace) if settings.workspace.root.exists() else []:
            pids = ", ".join(str(process.pid) for process in left[:5])
            yield Finding(
                "stack",
                f"{len(left)} processes of a stack run without a supervisor ({pids}): being started, or killed",
                "banyan up, which ends them first; or only end them: banyan down",
                "note",
            )
        return
    if not runs:
        left = leftovers(settings.workspace)
        yield Finding(
            "stack",
            f"process {stack['pid']} that ran it is gone without having stopped it: killed, or the machine restarted"
            + (f"; {len(left)} of its processes run on, and nobody restarts what dies" if left else ""),
            "banyan up: it ends what is left, and unfinished runs go on",
        )
        return
    if _is_frozen(stack["pid"]):
        yield Finding(
            "stack", f"its supervisor, process {stack['pid']}, is stopped (SIGSTOP)", f"kill -CONT {stack['pid']}"
        )
    for service in stack["services"]:
        yield from _service(service, hung_checks=settings.hung_checks)
    yield from _stopped_runs(settings)


def _stopped_runs(settings: Settings) -> Iterator[Finding]:
    """Flow runs whose process lives and does nothing: nobody takes them for lost."""
    for process in leftovers(settings.workspace):
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED and (run_id := process.environ().get(RUN_ID)):
                what = f"run {run_id} is stopped (SIGSTOP) as process {process.pid}, and stays Running"
                yield Finding("run", what, f"kill -CONT {process.pid}; or -9: then it goes on from its checkpoint")


def _service(service: Mapping[str, Any], *, hung_checks: int) -> Iterator[Finding]:
    name, state, pid, url = service["name"], service["state"], service["pid"], service["url"]
    log = Path(service["log"])
    if state in ("ready", "starting") and pid and (frozen := [one for one in _family(pid) if _is_frozen(one)]):
        pids = " ".join(map(str, frozen))
        yield Finding(name, f"stopped (SIGSTOP) as process {pids}: it runs and does nothing", f"kill -CONT {pids}")
        return
    if state == "ready":
        if service.get("health_url") and not answers(service["health_url"], timeout_seconds=ANSWER_SECONDS):
            yield Finding(
                name,
                f"process {pid} does not answer at {url} within {ANSWER_SECONDS:.0f} s",
                f"see {log}; "
                + (f"after {hung_checks} missed checks it is restarted; at once: " if hung_checks else "then: ")
                + f"kill -9 {pid}, and the supervisor starts it anew",
            )
        return
    port = urllib.parse.urlsplit(url).port if url else None
    holder = port_holder(port, besides=pid) if port else ""
    why = f"port {port} is held by {holder}" if holder else f"its log ends: {_last_line(log)}"
    if state == "failed":
        mend = f"end {holder}" if holder else f"mend what {log} says"
        yield Finding(
            name, f"given up after {service['restarts']} restarts; {why}", f"{mend}, then banyan down; banyan up"
        )
    elif state == "down" or service["restarts"]:
        remedy = f"end {holder}" if holder else "wait: the supervisor starts it anew, with growing pauses"
        yield Finding(
            name, f"{state} after {service['restarts']} restarts; {why}", remedy, "missing" if holder else "note"
        )
    elif state in ("waiting", "starting"):
        yield Finding(name, f"{state}; {why if holder else 'it is not ready yet'}", "wait", "note")


def port_holder(port: int, *, besides: int | None = None) -> str:
    """Who listens on a port of this machine, for a person; empty where nobody does.

    Args:
        besides: a process that may.
    """
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.status != psutil.CONN_LISTEN or not one.laddr or one.laddr.port != port:
                continue
            if one.pid is None:
                return "a process of another user"
            if besides is None or one.pid not in _family(besides):
                with contextlib.suppress(psutil.Error):
                    return f"process {one.pid} ({' '.join(psutil.Process(one.pid).cmdline())[:60]})"
    return ""


def _family(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children())]
    return [pid]


def _age_of(name: str, stack: Mapping[str, Any] | None) -> float | None:
    """Seconds that a service's process lives; None where there is none."""
    pid = next((one["pid"] for one in (stack or {"services": []})["services"] if one["name"] == name), None)
    with contextlib.suppress(psutil.Error):
        return time.time() - psutil.Process(pid).create_time() if pid else None
    return None


def _is_frozen(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return False


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return "(no log)"
    return lines[-1][:200] if lines else "(empty)"


# ---------------------------------------------------------------- stores


def _ledger(settings: Settings) -> Iterator[Finding]:
    """SQLite only: of another database its own client's message is the finding."""
    path = settings.workspace.ledger
    if settings.ledger_url is not None or not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=ANSWER_SECONDS, isolation_level=None)) as ledger:
            [(said,)] = ledger.execute("PRAGMA quick_check(1)").fetchall()
            if said != "ok":
                yield _corrupt(path, said)
                return
            ledger.execute("BEGIN IMMEDIATE")
            ledger.execute("ROLLBACK")
    except sqlite3.OperationalError as err:
        if "locked" not in str(err):
            yield Finding("ledger", f"{path}: {err}", "free some space on its disk, or mend its owner")
            return
        yield Finding(
            "ledger",
            f"locked for more than {ANSWER_SECONDS:.0f} s by {_openers(path)}: no answer and no feedback is taken",
            "wait if it works; if it is stopped: kill -CONT PID, or end it: nothing acknowledged is lost",
        )
        return
    except sqlite3.DatabaseError as err:
        yield _corrupt(path, str(err))
        return
    try:
        yield from _journal(settings)
    except BanyanError as err:
        yield Finding("ledger", err.message, err.remedy)


def _corrupt(path: Path, said: str) -> Finding:
    return Finding(
        "ledger",
        f"{path} is damaged: {said}",
        "banyan down; keep a copy of the file; then bring back the newest back-up: banyan restore FILE",
    )


def _journal(settings: Settings) -> Iterator[Finding]:
    from components.ledger.journal import Journal
    from components.ledger.store import Ledger

    with Ledger(settings) as ledger:
        problems = Journal(ledger, settings.workspace).verify().problems
        entries = ledger.journal()
    closed = {entry.move_id for entry in entries if entry.state != "intended"}
    for problem in problems:
        yield Finding("journal", problem, "banyan journal verify says more; bring back a back-up: banyan restore FILE")
    for entry in entries:
        if entry.move_id not in closed:
            yield Finding(
                "journal",
                f"the move of {entry.name} to v{entry.to_version} was begun and not finished",
                "wait: the relay finishes it once MLflow answers",
                "note",
            )


def _openers(path: Path) -> str:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(one.path == str(path) for one in process.open_files()):
                frozen = ", stopped" if process.status() == psutil.STATUS_STOPPED else ""
                found.append(f"{process.pid} ({process.name()}{frozen})")
    return "one of the processes " + ", ".join(found) if found else "another process"
