"""The stack's worker: Prefect's process worker, beside one that looks after runs that lost their process.

A dead process tells nobody, and Prefect by itself leaves its run Running for ever (PrefectHQ/prefect #16746). Where
every run of a pool is on this machine one can simply look. It is surer than an automation on events, which remains for
pools elsewhere: with SQLite their evaluation may be repeated or end early, and the worker's own report that the
process has exited may come after the automation has scheduled the run anew, and undo it (both seen with 3.8.8).
"""

import contextlib
import ctypes
import functools
import os
import platform
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import psutil

from components.ledger.attempts import Lost
from components.settings import Workspace, load_settings
from components.supervisor import leftovers
from flows.deployments import MAX_ATTEMPTS
from flows.runner import WORKER_PID, Asked, Runner, can_serve, warm

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

POOL = "cpu"
"""The one pool whose runs are all on this machine: only there is a run without a process here one that has lost it."""

RUN_ID = "PREFECT__FLOW_RUN_ID"
"""Prefect's own variable in a flow run's process."""

LOOK_EVERY_SECONDS = 2.0
CLAIMS_EVERY = 5
"""Looks: how often claims are looked after; at the first one, too, for those that lapsed while the machine was off."""
PATIENCE = timedelta(seconds=20)
"""How long a run may be Pending, or Running, and have no process yet: it is being started."""
SETTLED = timedelta(seconds=4)
"""How long a run must have been Crashed: the worker reports twice that a process has exited."""
FORGOTTEN = timedelta(hours=1)
"""A run that has been Crashed for so long is nobody's business any more."""
AHEAD = timedelta(seconds=5)
"""A state of a time so far ahead of now is one of before somebody set the clock back."""


class Sighting(NamedTuple):
    """When a run was first seen in a state."""

    at: float
    """Seconds of the clock that only counts."""
    at_first: timedelta
    """How old the state was then, by the time of day."""


def processes(workspace: Workspace) -> dict[str, psutil.Process]:
    """Flow run → its process, of this workspace's stack. When only the worker died, runs go on without it."""
    found: dict[str, psutil.Process] = {}
    for process in leftovers(workspace):
        with contextlib.suppress(psutil.Error):
            if run_id := process.environ().get(RUN_ID):
                first = min(process, found.get(run_id, process), key=psutil.Process.create_time)
                found[run_id] = first  # not a child that it has started
    return found


def take_up(
    client: "SyncPrefectClient",
    *,
    pool: str,
    living: Mapping[str, psutil.Process],
    patience: timedelta,
    seen: "dict[str, Sighting]",
) -> dict[str, str]:
    """Schedules anew the runs of a pool that have lost their process; run's name → the state it was given.

    One that was being cancelled is cancelled; one that has been tried MAX_ATTEMPTS times stays Crashed. A process whose
    run was declared dead (no heartbeat: the machine slept) is ended first, so that a run never has two.

    Args:
        living: as `processes` gives them.
        patience: how long a run may have no process; none when the worker only now starts.
        seen: what earlier looks of this process saw, kept by the caller. Ages are counted from there: by the time of
            day a run would have to wait, or would be forgotten, where somebody sets the clock.
    """
    now = time.monotonic()
    taken = {}
    for run in _unfinished(client, pool):
        age = since_first_seen(run, seen, now=now)
        process = living.get(str(run.id))
        is_crashed = run.state is not None and run.state.is_crashed()
        if is_crashed and run.run_count >= MAX_ATTEMPTS:
            _let_go(str(run.id), str(run.parameters.get("table", "")), "crashed")
            continue
        if is_crashed and not (age > SETTLED and seen[_state_id(run)].at_first + age < FORGOTTEN):
            continue
        if not is_crashed and (process is not None or age < patience):
            continue
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.kill()
        state = _next_state(run)
        client.set_flow_run_state(run.id, state, force=True)
        if state.is_final():
            outcome: Lost = "cancelled" if state.is_cancelled() else "crashed"
            _let_go(str(run.id), str(run.parameters.get("table", "")), outcome)
        taken[run.name] = state.name or state.type.value
    return taken


def since_first_seen(run: "FlowRun", seen: dict[str, Sighting], *, now: float) -> timedelta:
    """How long ago, in seconds that only count, the run was first seen in the state that it is in."""
    at_first = datetime.now(UTC) - run.state.timestamp if run.state else timedelta(0)
    first = seen.setdefault(_state_id(run), Sighting(now, max(at_first, timedelta(0))))
    return timedelta(seconds=now - first.at)


def _state_id(run: "FlowRun") -> str:
    return f"{run.id} {run.state.id if run.state else ''}"


def bring_forward(
    client: "SyncPrefectClient", *, pool: str, living: "Mapping[str, psutil.Process] | None" = None
) -> list[str]:
    """Lets runs begin now whose state is of a later time than now; their names.

    Somebody has set the clock back after they were scheduled: they would wait for the time that it was. One whose
    process has been started already waits within it; that is ended, and the run taken up as one that has crashed.

    Args:
        living: as `processes` gives them.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Scheduled
    from prefect.types import DateTime

    now = DateTime.now("UTC")
    later = filters.FlowRunFilterNextScheduledStartTime(after_=now + AHEAD)
    runs = client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            next_scheduled_start_time=later,
        ),
        work_pool_filter=filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=[pool])),
        limit=50,
    )
    ahead = [run for run in runs if not run.auto_scheduled and run.state and run.state.timestamp > now + AHEAD]
    for run in ahead:
        client.set_flow_run_state(run.id, Scheduled(message="the clock was set back; it begins now"), force=True)
    begun = client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.PENDING]))
        ),
        work_pool_filter=filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=[pool])),
        limit=50,
    )
    for run in begun:
        process = (living or {}).get(str(run.id))
        if process is None or run.state is None or run.state.timestamp <= now + AHEAD:
            continue
        wanted = run.state.state_details.scheduled_time
        if wanted is not None and wanted > now + AHEAD:
            with contextlib.suppress(psutil.Error):
                process.kill()
            ahead.append(run)
    return [run.name for run in ahead]


def _unfinished(client: "SyncPrefectClient", pool: str) -> "list[FlowRun]":
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    found = []
    at_work = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    for wanted, most in ((at_work, 200), ([StateType.CRASHED], 20)):
        found += client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=wanted))
            ),
            work_pool_filter=filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=[pool])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=most,
        )
    return found


def _next_state(run: "FlowRun") -> "State":
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Crashed, Scheduled

    if run.state_type == StateType.CANCELLING:
        return Cancelled(message="it was being cancelled when its process was lost")
    if run.run_count >= MAX_ATTEMPTS:
        return Crashed(message=f"its process was lost; {run.run_count} attempts were made")
    return Scheduled(name="AwaitingRetry", message="its process was lost; it goes on where it was")


@functools.lru_cache(maxsize=256)  # once a run: what raises is not kept, and tried again
def _let_go(run_id: str, table: str, outcome: Lost) -> None:
    """Gives back what a retraining claimed that is given up here: its own hooks died with its process."""
    if not table:
        return
    from components.ledger.store import Ledger

    with Ledger(load_settings()) as ledger:
        ledger.give_up(table, run_id=run_id, outcome=outcome)


def look_after(workspace: Workspace, *, pool: str, stop: threading.Event) -> None:
    """Looks every two seconds, until `stop`; a server that is away is looked for again."""
    from prefect.client.orchestration import get_client

    from flows.claims import look_after as look_after_claims

    settings = load_settings()
    seen: dict[str, Sighting] = {}
    num_looks = 0
    while not stop.is_set():
        try:
            with get_client(sync_client=True) as client:
                while not stop.wait(LOOK_EVERY_SECONDS):
                    num_looks += 1
                    living = processes(workspace)
                    _tell(take_up(client, pool=pool, living=living, patience=PATIENCE, seen=seen))
                    for name in bring_forward(client, pool=pool, living=living):
                        print(f"run {name!r} was scheduled for a time that the clock no longer says: now", flush=True)
                    for table in look_after_claims(client, settings=settings) if num_looks % CLAIMS_EVERY == 1 else ():
                        print(f"the claim on the feedback of {table} is free: who held it is over", flush=True)
        except Exception as err:  # an edge: whatever it is, the worker itself must go on
            print(f"cannot look after the runs: {err!r}", flush=True)
            stop.wait(LOOK_EVERY_SECONDS)


def _tell(taken: Mapping[str, str]) -> None:
    for name, state in taken.items():
        print(f"run {name!r} had lost its process: {state}", flush=True)


def main() -> int:
    """The runner, and before it the worker itself as its child: both share the pages of what both import."""
    import prefect.workers.process  # noqa: F401

    pool = sys.argv[1] if len(sys.argv) > 1 else POOL
    workspace = load_settings().workspace
    socket = workspace.locks / f"runner-{pool}.sock"
    if not can_serve(socket):
        work(workspace, pool=pool)
        return 0
    runner = Runner(socket)
    known = os.environ.pop(WORKER_PID, "")
    worker = int(known) if known else os.fork()
    if worker == 0:
        runner.close()
        _end_with_parent()
        work(workspace, pool=pool)
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the worker's; this one ends after it
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(worker, number))
    warm()
    made = runner.serve(worker)
    return made.run() if isinstance(made, Asked) else made


def work(workspace: Workspace, *, pool: str) -> None:
    """Prefect's worker, and who looks after its runs."""
    from prefect.client.orchestration import get_client

    name = "banyan"
    if pool == POOL:
        with get_client(sync_client=True) as client:
            _tell(take_up(client, pool=pool, living=processes(workspace), patience=timedelta(0), seen={}))
        watch = threading.Thread(target=look_after, args=(workspace,), kwargs={"pool": pool, "stop": threading.Event()})
        watch.daemon = True
        watch.start()
    else:
        name = f"banyan-{platform.node()}-{os.getpid()}"
    # Without --limit: with one, the worker dies when a crashed run comes back to it early (see deployments.NUM_RUNS).
    sys.argv = ["prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", name]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    """The kernel kills this process when its parent ends, however that happens: two workers would poll otherwise."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(main())
