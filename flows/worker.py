"""The stack's worker: first takes up the runs that lost their process, then becomes Prefect's process worker."""

import os
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

from components.settings import Workspace, load_settings
from components.supervisor import leftovers
from flows.deployments import MAX_ATTEMPTS

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOL = "cpu"
"""The one pool whose runs are all on this machine."""

RUN_ID = "PREFECT__FLOW_RUN_ID"
"""Prefect's own variable in a flow run's process."""


def living_runs(workspace: Workspace) -> set[str]:
    """Ids of the flow runs that have a process of this workspace's stack: when only the worker died, they go on."""
    import psutil

    found = set()
    for process in leftovers(workspace):
        try:
            found.add(process.environ().get(RUN_ID, ""))
        except psutil.Error:
            continue
    return found - {""}


def take_up(client: "SyncPrefectClient", *, pool: str, living: Collection[str]) -> dict[str, str]:
    """Schedules anew the pool's runs that Prefect believes to be running and that have no process.

    A dead process tells nobody, and Prefect by itself leaves such a run Running for ever (PrefectHQ/prefect #16746).
    A run that was being cancelled is cancelled; one that has been tried MAX_ATTEMPTS times stays Crashed.
    Only for a pool whose every run is on this machine.

    Returns:
        The run's name → the state it was given.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import State, StateType
    from prefect.states import Cancelled, Crashed, Scheduled

    unfinished = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    taken = {}
    while runs := [
        run
        for run in client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=unfinished)),
            ),
            work_pool_filter=filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=[pool])),
        )
        if str(run.id) not in living and run.name not in taken
    ]:
        for run in runs:
            state: State
            if run.state_type == StateType.CANCELLING:
                state = Cancelled(message="it was being cancelled when its process was lost")
            elif run.run_count >= MAX_ATTEMPTS:
                state = Crashed(message=f"its process was lost; {run.run_count} attempts were made")
            else:
                state = Scheduled(name="AwaitingRetry", message="its process was lost with the stack; it goes on")
            client.set_flow_run_state(run.id, state, force=True)
            taken[run.name] = state.name or state.type.value
    return taken


def main() -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        living = living_runs(load_settings().workspace)
        for name, state in take_up(client, pool=POOL, living=living).items():
            print(f"run {name} had lost its process: {state}", flush=True)
    worker = ("worker", "start", "--pool", POOL, "--type", "process")
    os.execv(sys.executable, (sys.executable, "-m", "prefect", *worker))  # noqa: S606  # no shell is meant


if __name__ == "__main__":
    main()
