"""What Prefect is told about us: work pools, deployments by module path, the schedule and the automations.

`python -m flows.deployments` tells it; telling it again changes nothing that is not changed here.
"""

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from components.ledger.attempts import LOOK_AGAIN
from flows.policies import trigger

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.automations import AutomationCore
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

TAG = "banyan"
"""On every deployment, hence on every run and every event of a run; beside it `pool-<name>`."""

NIGHTLY = "nightly"
"""The schedule that is made with the first registration."""

FORMERLY_NIGHTLY = "retrain/cpu"
"""The deployment that had this schedule when only one table was looked at: where it stands there it is moved."""

WATCH = "watch"
"""Who rolls back by itself, as the journal names it (`components.feedback.watch`, which is slow to import)."""

MAX_ATTEMPTS = 4
"""How often a run that lost its process is started in all, before it stays Crashed."""

HEARTBEAT_SECONDS = 30
MISSED_HEARTBEATS_SECONDS = 95
"""Three missed heartbeats and a little: a busy machine delays them."""

NUM_RUNS = 8
"""Flow runs that the cpu pool holds at once: a loop waits there while what it started runs. Counted by the server: a
worker with a limit of its own dies when a crashed run comes back to it early (prefect 3.8.8, "this borrower is already
holding one of this CapacityLimiter's tokens")."""

POOLS = {
    "cpu": "Flow runs as processes of this machine. Its runs are taken up again when the stack restarts.",
    "gpu": "Machines with a GPU: start `banyan worker --pool gpu` there; one training a device at a time.",
}


@dataclass(frozen=True)
class Deployment:
    """One line of the table; its name in Prefect is `<flow>/<pool>`, for example `retrain/cpu`."""

    entrypoint: str
    """Module path of the flow (never a file path: that would make a second copy of every class)."""
    pool: Literal["cpu", "gpu"] = "cpu"
    cron: str | None = None
    """In UTC."""


@dataclass(frozen=True)
class Bell:
    """An event at which a retraining looks whether it should begin."""

    name: str
    description: str
    event: str
    resource: str
    """What the id of the event's resource begins with; the table's name follows."""
    by: str = ""
    """Whose doing it must be; empty: anybody's."""

    @property
    def table(self) -> str:
        """The table's name, as a template of Prefect's."""
        return "{{ event.resource.id | replace('" + self.resource + "', '') }}"


BELLS = (
    Bell(
        "enough feedback starts a retraining",
        "The ledger counts and rings; the retraining counts again before it begins.",
        "banyan.feedback.ready",
        "banyan.table.",
    ),
    Bell(
        "new data starts a retraining",
        "An ingest rings; the retraining compares with the data that the champion was trained on, and looks for drift.",
        "banyan.data.changed",
        "banyan.table.",
    ),
    Bell(
        "what was put off starts a retraining",
        "The ledger rings when its time has come: after a pause, a failure, or another retraining.",
        LOOK_AGAIN,
        "banyan.table.",
    ),
    Bell(
        "a failed canary starts a retraining",
        "The journal rings at a roll-back of the watch; the retraining begins where the trigger wants it.",
        "banyan.model.rolled-back",
        "banyan.model.banyan-",
        by=WATCH,
    ),
)

TRAININGS = (
    "flows.pretrain.pretrain",
    "flows.finetune.finetune",
    "flows.preference.preference",
    "flows.search.search",
    "flows.retrain.retrain",
)
DEPLOYMENTS = (
    Deployment("flows.ingest.ingest"),
    Deployment("flows.pretrain.pretrain"),
    Deployment("flows.finetune.finetune"),
    Deployment("flows.preference.preference"),
    Deployment("flows.search.search"),
    Deployment("flows.evaluate.evaluate"),
    Deployment("flows.promote.promote"),
    Deployment("flows.verify.verify"),
    Deployment("flows.collect_feedback.collect_feedback"),
    # In case no bell rings: each table counts for itself and ends quietly when there is not enough.
    Deployment("flows.look.look", cron="17 3 * * *"),
    Deployment("flows.retrain.retrain"),
    Deployment("flows.loop.loop"),
    *(Deployment(entrypoint, pool="gpu") for entrypoint in TRAININGS),
)


def load_flow(entrypoint: str) -> "Flow[..., Any]":
    module, _, name = entrypoint.rpartition(".")
    flow: Flow[..., Any] = getattr(importlib.import_module(module), name)
    return flow


def register(
    client: "SyncPrefectClient", deployments: Iterable[Deployment] = DEPLOYMENTS, *, python: str = sys.executable
) -> dict[str, UUID]:
    """Tells Prefect the pools, the deployments and the automations; deployment name → id."""
    for pool, description in POOLS.items():
        _register_pool(client, pool, description=description, python=python)
    ids = {}
    for deployment in deployments:
        flow = load_flow(deployment.entrypoint)
        ids[f"{flow.name}/{deployment.pool}"] = _register_deployment(client, flow, deployment)
    for automation in automations(retrain=ids.get("retrain/cpu")):
        _register_automation(client, automation)
    return ids


def base_job_template(*, python: str) -> dict[str, Any]:
    """How a pool's worker starts a run: by our engine, with that interpreter."""
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    # Named outright, the command is run as it stands; otherwise each run first resolves a workspace for its code.
    template["variables"]["properties"]["command"]["default"] = f"{python} -m flows.engine"
    return template


def _register_pool(client: "SyncPrefectClient", name: str, *, description: str, python: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists

    is_ours = name == "cpu"
    template = base_job_template(python=python if is_ours else "python")  # elsewhere, whatever is there
    pool = WorkPoolCreate(
        name=name,
        type="process",
        base_job_template=template,
        description=description,
        concurrency_limit=NUM_RUNS if is_ours else None,
    )
    try:
        client.create_work_pool(pool)
    except ObjectAlreadyExists:
        if is_ours:  # the other's template may be an operator's; this one's interpreter may have moved
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


def _register_deployment(client: "SyncPrefectClient", flow: "Flow[..., Any]", deployment: Deployment) -> UUID:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.utilities.callables import parameter_schema

    known = _known(client, f"{flow.name}/{deployment.pool}")
    # Prefect replaces what it is not told of. A schedule that operators made, paused or removed stays as they left it.
    kept = [(one, one.parameters) for one in (known.schedules if known else ()) if one.slug != NIGHTLY]
    if deployment.cron is not None:
        before = known or _known(client, FORMERLY_NIGHTLY)
        kept += [(one, nightly()) for one in (before.schedules if before else ()) if one.slug == NIGHTLY]
    schedules = [
        DeploymentScheduleCreate(schedule=one.schedule, active=one.active, parameters=given, slug=one.slug)
        for one, given in kept
    ]
    if deployment.cron is not None and before is None:
        schedule = CronSchedule(cron=deployment.cron, timezone="UTC")
        schedules.append(DeploymentScheduleCreate(schedule=schedule, active=True, parameters=nightly(), slug=NIGHTLY))
    return client.create_deployment(
        flow_id=client.create_flow(flow),
        name=deployment.pool,
        entrypoint=deployment.entrypoint,
        work_pool_name=deployment.pool,
        description=flow.description,
        tags=[TAG, f"pool-{deployment.pool}"],
        schedules=schedules,
        parameter_openapi_schema=parameter_schema(flow).model_dump(exclude_unset=True),
        enforce_parameter_schema=True,
        pull_steps=[],
    )


def _known(client: "SyncPrefectClient", name: str) -> "DeploymentResponse | None":
    """The deployment as Prefect has it."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def nightly() -> dict[str, Any]:
    """Parameters of the nightly look at every table."""
    return {"trigger": trigger().model_dump(mode="json")}


def by_itself(table: object) -> dict[str, Any]:
    """Parameters of a retraining that nobody asked for: it needs enough feedback; by hand, anything new is enough."""
    return {"table": table, "trigger": trigger().model_dump(mode="json")}


# ---------------------------------------------------------------- automations


def automations(*, retrain: UUID | None) -> "list[AutomationCore]":
    """What Prefect does by itself.

    An automation is a doorbell, never a counter: events that come while one is handled may be swallowed, so the
    flow that it starts counts in the ledger. The recovery follows Prefect's "detect zombie flows", and is for machines
    that we cannot look at; the attempts are bounded by the label `prefect.run-count` that every state event bears.
    On this machine the worker looks for the process itself: here a laptop that slept for a minute would raise an
    alarm for every living run.
    """
    from prefect.automations import AutomationCore, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState, RunDeployment
    from prefect.events.schemas.events import ResourceSpecification

    def resource(**labels: object) -> ResourceSpecification:
        names = {"id": "prefect.resource.id", "role": "prefect.resource.role", "run_count": "prefect.run-count"}
        names["by"] = "banyan.actor"
        return ResourceSpecification.model_validate({names[name]: value for name, value in labels.items()})

    elsewhere = resource(id="prefect.tag.pool-gpu", role="tag")
    found = [
        AutomationCore(
            name="banyan: a run on pool gpu without heartbeat has crashed",
            description="A run's process is gone, or its machine is.",
            trigger=EventTrigger(
                posture=Posture.Proactive,
                after={"prefect.flow-run.heartbeat"},
                # Any word from the run will do: a run that ends in a state of its own naming must raise no alarm.
                expect={"prefect.flow-run.*"},
                match=resource(id="prefect.flow-run.*"),
                match_related=elsewhere,
                for_each={"prefect.resource.id"},
                threshold=1,
                within=timedelta(seconds=MISSED_HEARTBEATS_SECONDS),
            ),
            actions=[
                ChangeFlowRunState(
                    name=None,
                    state=StateType.CRASHED,
                    message=f"no heartbeat for {MISSED_HEARTBEATS_SECONDS} seconds",
                    force=False,  # a run that has ended in the meantime stays as it is
                )
            ],
        ),
        AutomationCore(
            name="banyan: a crashed run on pool gpu goes on",
            description=f"From its cached steps and its last checkpoint; at most {MAX_ATTEMPTS} attempts in all. "
            "(On pool cpu the stack's worker sees to it.)",
            trigger=EventTrigger(
                posture=Posture.Reactive,
                expect={"prefect.flow-run.Crashed"},
                match=resource(id="prefect.flow-run.*", run_count=[str(n) for n in range(1, MAX_ATTEMPTS)]),
                match_related=elsewhere,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[
                ChangeFlowRunState(
                    name="AwaitingRetry",
                    state=StateType.SCHEDULED,
                    message="its process was lost; it goes on",
                    force=False,
                )
            ],
        ),
    ]
    if retrain is not None:
        found += [
            AutomationCore(
                name=f"banyan: {bell.name}",
                description=bell.description,
                trigger=EventTrigger(
                    posture=Posture.Reactive,
                    expect={bell.event},
                    match=resource(id=f"{bell.resource}*", **({"by": bell.by} if bell.by else {})),
                    threshold=1,
                    within=timedelta(0),
                ),
                actions=[
                    RunDeployment(
                        source="selected",
                        deployment_id=retrain,
                        parameters=by_itself({"__prefect_kind": "jinja", "template": bell.table}),
                        job_variables=None,
                    )
                ],
            )
            for bell in BELLS
        ]
    return found


def _register_automation(client: "SyncPrefectClient", automation: "AutomationCore") -> None:
    """Creates it, or brings the one of that name up to date; whether it is switched on stays the operators' choice."""
    for old in client.read_automations_by_name(automation.name):
        client.update_automation(old.id, automation.model_copy(update={"enabled": old.enabled}))
        return
    client.create_automation(automation)


def main() -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for name in register(client):
            print(f"deployed {name}")


if __name__ == "__main__":
    main()
