"""What Prefect and the gateway say of themselves that is not as it should be; they are known to answer."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from components import prefect_key
from components.errors import BanyanError
from components.settings import Settings
from components.supervisor import Addresses
from flows import health
from flows.health import Finding

WORKER_SECONDS = 90.0
"""Three heartbeats of Prefect's worker."""
WAITING_SECONDS = 60.0
"""A worker that is well takes a run within two."""


def prefect(at: Addresses, *, worker_seconds: float | None) -> list[Finding]:
    """What Prefect lacks of ours, and who does not work for it.

    Args:
        worker_seconds: how long this stack's worker runs; None: there is none, or it is known what ails it.
    """
    return _asked("prefect", at.prefect, lambda: _prefect(at, worker_seconds))


def gateway(at: Addresses, settings: Settings) -> list[Finding]:
    """Whom the gateway cannot answer with."""
    return _asked("gateway", at.gateway, lambda: _gateway(at, settings))


def _asked(name: str, url: str, ask: Callable[[], Iterator[Finding]]) -> list[Finding]:
    import httpx

    try:
        return list(ask())
    except (httpx.HTTPError, ValueError, KeyError, BanyanError) as err:
        reason = str(err) or type(err).__name__
        return [Finding(name, f"does not answer as it should at {url} ({reason[:160]})", "see its log")]


def _prefect(at: Addresses, worker_seconds: float | None) -> Iterator[Finding]:
    import httpx

    from flows.deployments import BELLS

    anew = "banyan down; banyan up: it tells Prefect anew"
    with httpx.Client(
        base_url=f"{at.prefect}/api",
        headers=prefect_key.headers(),
        timeout=health.ANSWER_SECONDS,
        trust_env=False,
    ) as client:

        def post(path: str, body: Mapping[str, Any]) -> Any:
            answer = client.post(path, json=body)
            answer.raise_for_status()
            return answer.json()

        pool = client.get("/work_pools/cpu")
        if pool.status_code == 404:
            yield Finding("prefect", "it knows no work pool cpu, so nothing can be started", anew)
            return
        pool.raise_for_status()
        if pool.json()["is_paused"]:
            yield Finding(
                "prefect",
                "work pool cpu is paused: no run begins",
                f"resume it at {at.prefect}/work-pools/work-pool/cpu",
            )
        names = deployment_names()
        lacking = [name for name in names if client.get(f"/deployments/name/{name}").status_code == 404]
        if lacking:
            yield Finding("prefect", f"it lacks the deployments {', '.join(lacking)}, which cannot be started", anew)
        bells = {one["name"]: one["enabled"] for one in post("/automations/filter", {"limit": 200})}
        for bell in (f"banyan: {bell.name}" for bell in BELLS):
            if not bells.get(bell):
                how = "switched off" if bell in bells else "gone"
                yield Finding("prefect", f"the automation {bell!r} is {how}: it will not happen", anew, "note")
        if worker_seconds is not None:
            yield from _worker(post("/work_pools/cpu/workers/filter", {}), runs_for=worker_seconds)
        late = {"state": {"type": {"any_": ["SCHEDULED"]}, "name": {"any_": ["Late"]}}}
        if waiting := [run for run in post("/flow_runs/filter", {"flow_runs": late}) if _age(run) > WAITING_SECONDS]:
            yield Finding(
                "worker",
                f"{len(waiting)} runs wait for more than {WAITING_SECONDS:.0f} s to be begun ({waiting[0]['name']} …): "
                "it is away, or as many run as may at once",
                "banyan status says what runs; see worker.log",
            )


def deployment_names() -> list[str]:
    """As Prefect knows them: `<flow>/<pool>`; without importing the flows."""
    from flows.deployments import DEPLOYMENTS

    return [f"{one.entrypoint.rpartition('.')[2].replace('_', '-')}/{one.pool}" for one in DEPLOYMENTS]


def _worker(workers: list[dict[str, Any]], *, runs_for: float) -> Iterator[Finding]:
    beats = [_seconds_since(one["last_heartbeat_time"]) for one in workers if one.get("last_heartbeat_time")]
    if runs_for < WORKER_SECONDS and not beats:
        yield Finding("worker", f"it has run for {runs_for:.0f} s and not yet reported to Prefect", "wait", "note")
    elif not beats or min(beats) > WORKER_SECONDS:
        ago = f"its last heartbeat was {min(beats):.0f} s ago" if beats else "it never sent a heartbeat"
        yield Finding(
            "worker",
            f"{ago}: no run begins, and one that loses its process stays as it is",
            "kill -9 its process (banyan status --json names it); the supervisor starts it anew",
        )


def _age(run: Mapping[str, Any]) -> float:
    return _seconds_since(run["expected_start_time"])


def _seconds_since(at: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(at.replace("Z", "+00:00"))).total_seconds()


def _gateway(at: Addresses, settings: Settings) -> Iterator[Finding]:
    import httpx

    key = settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    answer = httpx.get(f"{at.gateway}/v1/models", headers=headers, timeout=health.ANSWER_SECONDS, trust_env=False)
    answer.raise_for_status()
    about = answer.json()
    if about["registry"]:
        yield Finding(
            "gateway",
            f"it does not reach the registry ({about['registry']}): it answers with what it has",
            "see mlflow",
            "note",
        )
    elif not about["models"]:
        yield Finding(
            "gateway",
            "it has no champion to answer with: nothing has passed the gate yet",
            "train one: banyan demo | banyan train RECIPE; what the gate said is on the dashboard's page of models",
            "note",
        )
    for model in about["models"]:
        if model["state"] in ("failed", "stale"):
            serves = f"v{model['version']} answers on" if model["state"] == "stale" else "nobody answers"
            yield Finding(
                "gateway",
                f"table {model['table']}: v{model['wanted_version']} cannot be loaded ({model['problem']}); {serves}",
                f"banyan rollback {model['table']}, or mend it: see gateway.log",
            )
