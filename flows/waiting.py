"""What a loop waits for: a run that it starts, a run that starts by itself, a gateway that has swapped."""

import time
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.types import DateTime
from prefect.utilities.callables import get_call_parameters
from pydantic import BaseModel

from components.errors import GatewayUnavailable, NoChampion, StackError
from components.ledger.attempts import lease_name
from components.ledger.store import Ledger
from components.recipes import TriggerPolicy
from components.registry import Registry, model_name
from components.settings import Settings, load_settings
from components.supervisor import addresses
from flows import gateway
from flows.deployments import MAX_ATTEMPTS, load_flow
from flows.following import nobody
from flows.remote import Prefect, Run, failure
from flows.unchanged import Changed, looking

POLL_SECONDS = 0.5
TAKEN_UP_SECONDS = 60.0
"""How long a crashed run may wait to be taken up before it counts as lost."""
NO_BELL_SECONDS = 240.0
"""How long enough feedback may lie there without a retraining that begins or ends."""


def made_before(name: str, deployment: str, parameters: dict[str, Any], *, settings: Settings) -> Any:
    """What the part gave when nothing of its inputs has changed since; None where it has something to do."""
    if parameters.get("force"):
        return None
    begun = time.monotonic()
    flow_name = deployment.partition("/")[0]
    flow = load_flow(f"flows.{flow_name}.{flow_name}")
    given = flow.validate_parameters(get_call_parameters(flow.fn, (), parameters))  # a result of before is plain JSON
    try:
        with looking():
            before = flow.fn(**given)
    except Changed as what:
        get_run_logger().info("%s: to be done, for of the step %s", name, what)
        return None
    get_run_logger().info("%s: unchanged, it stays %s", name, before)
    record(name, time.monotonic() - begun, settings=settings)
    return before


def stage(name: str, deployment: str, parameters: dict[str, Any], *, settings: Settings) -> Any:
    """Runs a deployment on the worker as a part of this run, and gives its result; its seconds go to the ledger.

    A loop that lost its process meets the same part again, not a second one.

    Raises:
        BanyanError: the part failed; of the class that it failed with.
    """
    given = {key: _plain(value) for key, value in parameters.items()}
    key = f"{flow_run.id}:{name}"
    pool = deployment.partition("/")[2]
    if not Prefect(settings).is_served(pool):
        get_run_logger().warning("%s: %s", name, nobody(pool))
    asked = run_deployment(
        deployment, parameters=given, flow_run_name=name, poll_interval=POLL_SECONDS, idempotency_key=key
    )
    run = _settled(cast(FlowRun, asked))
    if run.state is None or not run.state.is_completed():
        raise _failure_of(run)
    record(name, _wall_seconds(run), settings=settings)
    return run.state.result()


def start(deployment: str, parameters: dict[str, Any], *, key: str) -> str:
    """A run that nobody waits for here; its id. The same key is the same run."""
    given = {name: _plain(value) for name, value in parameters.items()}
    asked = run_deployment(deployment, parameters=given, timeout=0, idempotency_key=key, as_subflow=False)
    return str(cast(FlowRun, asked).id)


def record(name: str, seconds: float, *, settings: Settings) -> None:
    """A stage's seconds, under this run."""
    with Ledger(settings) as ledger:
        ledger.record_cost(str(flow_run.id), name, subject_name="loop", device="", seconds=seconds)


def champion(table: str, *, settings: Settings, timeout_seconds: float = 120.0) -> None:
    """Returns when the gateway answers with the table's champion of now.

    Raises:
        NoChampion: nothing has passed the gate.
        GatewayUnavailable: it does not load the champion in time.
    """
    wanted = Registry(addresses(settings).mlflow).champion(model_name(table))
    if wanted is None:
        raise NoChampion(f"no version of {model_name(table)} has passed the gate", "see the verdicts on the dashboard")
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        seats = {seat["table"]: seat for seat in gateway.models(settings)}
        if seats.get(table, {}).get("version") == wanted.version:
            return
        time.sleep(POLL_SECONDS)
    raise GatewayUnavailable(f"the gateway has not loaded {wanted}: {seats.get(table)}", "see its log: banyan status")


def retraining(table: str, trigger: TriggerPolicy, *, settings: Settings) -> None:
    """Returns when no feedback waits for a retraining any more: one that Prefect started by itself has used it.

    Raises:
        BanyanError: that retraining failed.
        StackError: none began.
    """
    since, deadline = DateTime.now("UTC"), time.monotonic() + NO_BELL_SECONDS
    while True:
        with Ledger(settings) as ledger:
            at_work = ledger.is_leased(lease_name(table))
            waiting = ledger.pending(table).count
        if waiting < trigger.minimum_feedback and not at_work:
            return
        for run in _retrainings(table, since):
            if run.state_type == StateType.FAILED or _is_lost(run):
                raise _failure_of(run)
        if at_work:
            deadline = time.monotonic() + NO_BELL_SECONDS
        elif time.monotonic() > deadline:
            raise StackError(f"{waiting} rows of feedback on {table} wait, and no retraining began", "banyan status")
        time.sleep(2 * POLL_SECONDS)


def _retrainings(table: str, since: DateTime) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=["retrain"])),
            flow_run_filter=filters.FlowRunFilter(start_time=filters.FlowRunFilterStartTime(after_=since)),
            limit=50,
        )
    return [run for run in runs if run.parameters.get("table") == table]


def _is_lost(run: FlowRun) -> bool:
    return run.state_type == StateType.CRASHED and run.run_count >= MAX_ATTEMPTS


def _settled(run: FlowRun) -> FlowRun:
    """The run at its end: one that crashed is given the time to be taken up, and then to finish."""
    deadline = time.monotonic() + TAKEN_UP_SECONDS
    with get_client(sync_client=True) as client:
        while run.state is None or not run.state.is_final() or run.state.is_crashed():
            if run.state is None or not run.state.is_crashed():
                deadline = time.monotonic() + TAKEN_UP_SECONDS
            elif _is_lost(run) or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
            run = client.read_flow_run(run.id)
    return run


def _failure_of(run: FlowRun) -> Exception:
    message = run.state.message if run.state else None
    name = run.state_type.value if run.state_type else "unknown"
    page = f"{addresses(load_settings()).prefect}/runs/flow-run/{run.id}"
    return failure(Run(str(run.id), run.name, name, message or "", 0.0), page)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _wall_seconds(run: FlowRun) -> float:
    """From being asked for to its end, with what it waited for the worker."""
    begin, end = run.created, run.end_time
    return (end - begin).total_seconds() if begin and end else run.total_run_time.total_seconds()
