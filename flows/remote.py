"""Runs deployments through Prefect's HTTP API and follows them; imports no Prefect (0.6 s)."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import errors
from components.errors import BanyanError, ServiceDown, StackError
from components.settings import Settings

PATIENCE_SECONDS = 60.0
"""How long a server that is busy or being restarted is asked again: on a loaded machine it took 38 s to start."""

SOON_SECONDS = 15.0
"""How long a run is looked at often: one that has nothing to do is over by then."""
OFTEN_SECONDS = 0.25

TERMINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@dataclass(frozen=True)
class Step:
    """A step of a run, or a run that it started."""

    name: str
    state: str
    """Prefect's state type: PENDING, RUNNING, COMPLETED, FAILED …"""
    seconds: float
    """Time spent running so far."""


@dataclass(frozen=True)
class Progress:
    """How far the innermost long step is."""

    percent: float
    text: str
    """What the step says of itself: rate, loss, time left."""


@dataclass(frozen=True)
class Run:
    """A flow run as last seen."""

    id: str
    name: str
    state: str
    message: str
    seconds: float
    outcome: str = "Completed"
    """The state's own name: `NotEnough` and the like where a flow ended early, and well."""
    result_file: str = ""
    """Where Prefect keeps what the flow returned, once it is over."""
    steps: tuple[Step, ...] = ()
    progress: Progress | None = None
    pool: str = ""

    @property
    def result(self) -> dict[str, Any]:
        """What the flow returned, as its JSON form; empty where nothing was kept or it lies on another machine."""
        try:
            kept = json.loads(Path(self.result_file).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        if isinstance(kept, dict) and "__class__" in kept:  # a pydantic model, as Prefect writes one
            kept = kept.get("data")
        return kept if isinstance(kept, dict) else {}

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL

    @property
    def has_begun(self) -> bool:
        return bool(self.steps) or self.state not in {"SCHEDULED", "PENDING"}

    @property
    def stage(self) -> str:
        running = [step.name for step in self.steps if step.state == "RUNNING"]
        return running[-1] if running else ("waiting for the worker" if not self.steps else "between steps")


class Prefect:
    """The part of Prefect's API that a client of ours needs.

    Every call raises ServiceDown when the server does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        import httpx

        from components import prefect_key
        from components.supervisor import addresses

        self._settings = settings
        self._url = addresses(settings).prefect
        self._http = httpx.Client(base_url=f"{self._url}/api", timeout=30, headers=prefect_key.headers())

    def page(self, run_id: str) -> str:
        """Where a person sees the run."""
        return f"{self._url}/runs/flow-run/{run_id}"

    def deployment(self, name: str) -> dict[str, Any]:
        """The deployment `flow/pool`. Raises StackError: there is none."""
        found: dict[str, Any] = self.call("GET", f"/deployments/name/{name}", missing=f"there is no deployment {name}")
        return found

    def is_served(self, pool: str) -> bool:
        """Whether a worker of the pool is there."""
        workers = self.call("POST", f"/work_pools/{pool}/workers/filter", {}, missing=f"there is no work pool {pool}")
        return any(worker.get("status") == "ONLINE" for worker in workers)

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """The id of a new run of `flow/deployment`.

        Raises:
            StackError: there is no such deployment, or it refuses the parameters.
        """
        found = self.deployment(deployment)
        # With a key, asking again after an answer that got lost does not start a second one.
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "idempotency_key": uuid.uuid4().hex}
        run: dict[str, Any] = self.call("POST", f"/deployments/{found['id']}/create_flow_run", body)
        return str(run["id"])

    def unfinished(self, deployment: str) -> str | None:
        """The newest run of `flow/deployment` that is not over: one that a killed stack left, or somebody else's."""
        found = self.deployment(deployment)
        wanted = {
            "deployment_id": {"any_": [found["id"]]},
            "state": {"type": {"not_any_": sorted(TERMINAL)}},
        }
        runs = self.call("POST", "/flow_runs/filter", {"flow_runs": wanted, "sort": "START_TIME_DESC", "limit": 1})
        return str(runs[0]["id"]) if runs else None

    def read(self, run_id: str) -> Run:
        """The run with its steps and, for a long one, its progress."""
        raw = self.call("GET", f"/flow_runs/{run_id}", missing=f"there is no run {run_id}")
        state = raw.get("state") or {}
        of_run = {"flow_runs": {"id": {"any_": [run_id]}}}
        tasks = self.call("POST", "/task_runs/filter", {**of_run, "sort": "EXPECTED_START_TIME_ASC"})
        children = self.call("POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}})
        family = [run_id, *(child["id"] for child in children)]
        return Run(
            id=run_id,
            name=raw["name"],
            state=state.get("type", "PENDING"),
            message=state.get("message") or "",
            outcome=state.get("name") or "Completed",
            result_file=(state.get("data") or {}).get("storage_key") or "",
            seconds=float(raw.get("estimated_run_time") or 0),
            steps=tuple(
                Step(
                    re.sub(r"-[0-9a-f]{1,4}$", "", task["name"]),
                    task.get("state_type") or "PENDING",
                    float(task.get("estimated_run_time") or 0),
                )
                for task in tasks
                if not task["task_key"].startswith("prefect.")  # Prefect's stand-in for a run that was started
            ),
            progress=self._progress(family),
            pool=raw.get("work_pool_name") or "",
        )

    def follow(self, run_id: str, *, seen: Callable[[Run], None], poll_seconds: float = 1.0) -> Run:
        """Calls `seen` with the run until it is over, and returns it."""
        for run in self._poll(run_id, poll_seconds):
            seen(run)
        return run

    def _poll(self, run_id: str, poll_seconds: float) -> Iterator[Run]:
        begun = time.monotonic()
        while True:
            run = self.read(run_id)
            yield run
            if run.is_over:
                return
            time.sleep(min(poll_seconds, OFTEN_SECONDS if time.monotonic() - begun < SOON_SECONDS else poll_seconds))

    def _progress(self, run_ids: list[str]) -> Progress | None:
        wanted = {"flow_run_id": {"any_": run_ids}, "type": {"any_": ["progress"]}}
        artifacts = self.call("POST", "/artifacts/filter", {"artifacts": wanted, "sort": "UPDATED_DESC", "limit": 1})
        if not artifacts or artifacts[0]["data"] is None or float(artifacts[0]["data"]) >= 100:
            return None
        return Progress(float(artifacts[0]["data"]), artifacts[0].get("description") or "")

    def call(self, method: str, path: str, body: Any = None, *, missing: str = "") -> Any:
        """What the server answers, as parsed JSON; None where it answers nothing.

        Raises:
            StackError: it refused, or wants a key; with `missing`, for a 404.
        """
        import httpx

        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            reason = ""
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.TransportError as err:
                reason = str(err)
            else:
                if answer.status_code == 503:  # on SQLite: "database is locked"
                    reason = answer.text[:100]
            if not reason:
                break
            if time.monotonic() > deadline or not self._may_come_back():
                raise ServiceDown(f"Prefect does not answer at {self._url} ({reason})", "see: banyan status")
            time.sleep(0.5)
        if answer.status_code == 401:
            raise StackError(f"Prefect at {self._url} asks for a key", "set PREFECT_API_AUTH_STRING to it")
        if answer.status_code == 404 and missing:
            raise StackError(missing, f"see {self._url}/deployments")
        if answer.is_error:
            raise StackError(f"Prefect refused {method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def _may_come_back(self) -> bool:
        """Whether somebody is there who would start it again."""
        from components.supervisor import addresses

        try:
            return addresses(self._settings).prefect == self._url
        except ServiceDown:
            return False


def failure(run: Run, page: str) -> BanyanError:
    """The error that ended a run, of the class that the flow raised: its exit code is the command's.

    Prefect keeps the exception as text only: `Flow run encountered an exception: InputFileError: …`.
    """
    match = re.search(r"\b([A-Z]\w+): (.*)", run.message, flags=re.DOTALL)
    cls = getattr(errors, match[1], None) if match else None
    if match and isinstance(cls, type) and issubclass(cls, BanyanError):
        return cls(match[2].strip())
    return StackError(f"run {run.name} ended {run.state.lower()}: {run.message or 'no reason given'}", f"see {page}")
