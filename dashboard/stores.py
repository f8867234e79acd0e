"""The only door to MLflow, Prefect, the ledger, the gateway and the data versions.

Every method answers with `records` or raises `StoreError`; nothing here draws, decides or remembers.
"""

import contextlib
import json
import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from components.errors import BanyanError, RegistryUnavailable
from components.ledger.schema import Fate, Feedback
from components.recipes import TriggerPolicy, load_recipe
from components.settings import Settings
from components.supervisor import addresses, read_stack
from dashboard.records import (
    Answered,
    DataState,
    DataVersion,
    FailedBuild,
    LedgerState,
    ModelVersion,
    Orchestration,
    Run,
    RunDetail,
    Seat,
    Service,
    Step,
    StoreError,
    StoreName,
    TableActivity,
)

if TYPE_CHECKING:
    from components.data.versioning import Manifest
    from components.ledger.store import Ledger
    from components.refs import DataRef
    from components.registry import Registry, VersionInfo

log = logging.getLogger("banyan.dashboard")
QUICK = httpx.Timeout(5.0, connect=1.0)
ANSWER = httpx.Timeout(90.0, connect=1.0)
"""A generated answer takes seconds, and longer behind others."""
CHANNEL = "dashboard"
TRIGGER = Path(__file__).parents[1] / "flows" / "recipes" / "retrain-when.yaml"  # data, not code: nothing is imported
PAGE_ROWS = 12
REPORT_STYLE = """
body { font: 14px/1.5 sans-serif; color: #1d2a24; background: #fbfaf6; margin: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border: 1px solid #dedacb; padding: .3rem .6rem; text-align: left; }
nav, footer, a[data-toggle], .sticky, .collapse:not(.show), .d-none { display: none; }
.fa-check-circle::before { content: "✓"; color: #1f7a4d; } .fa-times::before { content: "✗"; color: #b3362b; }
a { color: inherit; text-decoration: none; } svg { max-width: 320px; }
ul { list-style: none; padding: 0; margin: 0; }
h1, h2, h3, h4, h5 { font-size: 1rem; margin: 1rem 0 .3rem; }
"""


# ---------------------------------------------------------------- the door


@dataclass
class Stores:
    """All of them, by the settings of this process."""

    settings: Settings
    _ledger: "Ledger | None" = field(default=None, repr=False)
    _registry: "Registry | None" = field(default=None, repr=False)

    # ------------------------------------------------------------ the stack

    def services(self) -> tuple[Service, ...]:
        """What the local stack says of its processes; none when no stack has been started here."""
        stack = read_stack(self.settings) or {}
        return tuple(
            Service(str(row["name"]), str(row["state"]), str(row.get("url") or "")) for row in stack.get("services", ())
        )

    # ------------------------------------------------------------ data versions

    def data(self) -> DataState:
        """Every version, and the builds that were kept out."""
        with _translated("data", "the data store"):
            from components.data import versioning  # with pandas and pyarrow, 0.4 s

            head = versioning.head(self.settings)
            found = versioning.versions(self.settings)
            versions = tuple(_data_version(one, self._licences(one), head) for one in found)
            return DataState(versions, tuple(self._failed_builds()))

    def report_pages(self, docs: Path) -> tuple[Path, ...]:
        """The pages of a validation report, one a batch; none when it is no longer there."""
        return tuple(sorted((docs.parent / "validations").rglob("*.html")))

    def report(self, page: Path) -> str:
        """A page of a validation report, to be shown inside ours: without what it would fetch from the net."""
        try:
            html = page.read_text("utf-8")
        except OSError as err:
            raise StoreError("data", f"{page} is not readable: {err.strerror}", is_down=False) from err
        html = re.sub(r"<script\b.*?</script>|<link\b[^>]*>", "", html, flags=re.DOTALL)
        return html.replace("</head>", f"<style>{REPORT_STYLE}</style></head>", 1)

    def _licences(self, manifest: "Manifest") -> dict[str, str]:
        """From the version's own tables; a version that is not checked out here has no licences to show."""
        folder = self.settings.workspace.data / "versions" / manifest.ref.version
        found: dict[str, str] = {}
        for table in manifest.ref.tables:
            found |= (_read_json(folder / table / "table.json") or {}).get("licences", {})
        return found

    def _failed_builds(self) -> Iterator[FailedBuild]:
        for folder in (self.settings.workspace.data / "failed").glob("*"):
            report = _read_json(folder / "validation.json")
            if report is None:
                continue
            failed = tuple(
                f"{check['batch']}: {check['meaning']} ({check['unexpected_count']}/{check['element_count']})"
                for check in report["checks"]
                if not check["success"]
            )
            yield FailedBuild(folder.name, folder.stat().st_mtime, failed, _path(report.get("docs")))

    # ------------------------------------------------------------ MLflow

    def models(self) -> tuple[ModelVersion, ...]:
        """Every registered version, by name, newest first."""
        with self._mlflow() as registry:
            found = [(name, registry.versions(name)) for name in registry.names()]
            return tuple(_model(info, registry.url) for _, infos in found for info in infos)

    def card(self, model: ModelVersion) -> str:
        """A version's model card, Markdown."""
        with self._mlflow() as registry:
            ref = registry.ref(model.name, model.version)
            return registry.get(ref).card

    @contextlib.contextmanager
    def _mlflow(self) -> "Iterator[Registry]":
        with _translated("registry", "MLflow"):
            if self._registry is None:
                # A page is drawn again in seconds: it does not wait for a server that is down.
                os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
                from components.registry import Registry  # with MLflow, 0.8 s

                self._registry = Registry(addresses(self.settings).mlflow)
            yield self._registry

    # ------------------------------------------------------------ ledger

    def trigger_floor(self) -> int:
        """How many unused feedback rows start a retraining, by the recipe that the stack rings by."""
        policy: TriggerPolicy = load_recipe(TRIGGER)
        return policy.minimum_feedback

    def ledger(self) -> LedgerState:
        """Answers, feedback, fates, verdicts and alias moves, counted."""
        with self._reading() as ledger:
            if ledger is None:
                return LedgerState((), (), ())
            tables = tuple(_activity(ledger, table) for table in ledger.tables())
            return LedgerState(tables, tuple(ledger.verdicts()), tuple(ledger.journal()))

    def feedback(self, table: str, *, fate: str | None = None, before: int | None = None) -> tuple[Feedback, ...]:
        """One page of `PAGE_ROWS`, newest first."""
        with self._reading() as ledger:
            if ledger is None:
                return ()
            return tuple(ledger.feedback(table, fate=fate, limit=PAGE_ROWS, before=before))  # type: ignore[arg-type]

    def fate_of(self, feedback_id: str) -> tuple[Fate, ...]:
        """A row's way so far; empty when there is no such row."""
        with self._reading() as ledger:
            return tuple(ledger.fate_of(feedback_id)) if ledger else ()

    @contextlib.contextmanager
    def _reading(self) -> "Iterator[Ledger | None]":
        """The ledger; None while the workspace has none, since looking must not make one."""
        from components.ledger.store import Ledger

        url = self.settings.ledger_url
        if self._ledger is None and url is None and not self.settings.workspace.ledger.exists():
            yield None
            return
        try:
            if self._ledger is None:
                self._ledger = Ledger(self.settings)
            yield self._ledger
        except BanyanError as err:
            raise StoreError("ledger", err.message, err.remedy) from err

    # ------------------------------------------------------------ Prefect

    def orchestration(self, *, limit: int = 40) -> Orchestration:
        """Recent runs, what they are at, and what can be started."""
        with self._prefect() as (http, url):
            raw = _json(http.post("/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": limit}))
            flows = {row["id"]: row["name"] for row in _json(http.post("/flows/filter", json={"limit": 100}))}
            known = {row["id"]: row for row in _json(http.post("/deployments/filter", json={"limit": 100}))}
            running = [row["id"] for row in raw if row["state_type"] == "RUNNING"]
            steps = _running_steps(http, running) if running else {}
            workers = _json(http.post("/work_pools/cpu/workers/filter", json={}), missing=[])
        runs = sorted((_run(row, flows, known, url) for row in raw), key=lambda run: -run.created_at)
        names = sorted(f"{flows.get(row['flow_id'], '?')}/{row['name']}" for row in known.values())
        online = sum(row.get("status") == "ONLINE" for row in workers)
        return Orchestration(tuple(runs), steps, tuple(names), online, url)

    def run(self, run_id: str) -> RunDetail:
        """Steps, progress and the last log lines of a run and of what it started."""
        with self._prefect() as (http, _):
            tasks = _json(
                http.post(
                    "/task_runs/filter",
                    json={"flow_runs": {"id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"},
                )
            )
            children = _json(
                http.post("/flow_runs/filter", json={"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}})
            )
            family = [run_id, *(child["id"] for child in children)]
            wanted = {"flow_run_id": {"any_": family}, "type": {"any_": ["progress"]}}
            bars = _json(http.post("/artifacts/filter", json={"artifacts": wanted, "sort": "UPDATED_DESC", "limit": 1}))
            lines = _json(
                http.post(
                    "/logs/filter",
                    json={"logs": {"flow_run_id": {"any_": family}}, "sort": "TIMESTAMP_DESC", "limit": 60},
                )
            )
        bar = bars[0] if bars and bars[0].get("data") is not None else None
        return RunDetail(
            steps=tuple(_step(task) for task in tasks),
            progress=(float(bar["data"]), str(bar.get("description") or "")) if bar else None,
            log=tuple(
                (_seconds(line["timestamp"]) or 0.0, int(line["level"]), str(line["message"]))
                for line in reversed(lines)
            ),
        )

    def start_retraining(self, table: str, *, actor: str) -> str:
        """A run of the deployment `retrain/cpu`, by name; its id. A second click within a minute is the same run."""
        with self._prefect() as (http, _):
            found = http.get("/deployments/name/retrain/cpu")
            if found.status_code == 404:
                raise StoreError(
                    "prefect", "there is no deployment retrain/cpu", "python -m flows.deployments", is_down=False
                )
            body = {
                "parameters": {"table": table},
                "state": {"type": "SCHEDULED"},
                "tags": ["banyan", f"by:{actor}"],
                "idempotency_key": f"dashboard-{table}-{int(datetime.now().timestamp() // 60)}",
            }
            run = _json(http.post(f"/deployments/{_json(found)['id']}/create_flow_run", json=body))
        return str(run["id"])

    @contextlib.contextmanager
    def _prefect(self) -> Iterator[tuple[httpx.Client, str]]:
        with _translated("prefect", "Prefect"):
            url = addresses(self.settings).prefect
            with httpx.Client(base_url=f"{url}/api", timeout=QUICK) as http:
                yield http, url

    # ------------------------------------------------------------ gateway

    def seats(self) -> tuple[Seat, ...]:
        """Who answers, by table."""
        with self._gateway(QUICK) as http:
            return tuple(_seat(row) for row in _json(http.get("/v1/models"))["models"])

    def ask(self, table: str, question: str) -> Answered:
        """One answer of the table's champion."""
        with self._gateway(ANSWER) as http:
            reply = _json(http.post(f"/v1/tasks/{table}", json={"input": question}))
        return Answered(
            request_id=reply["request_id"],
            table=table,
            question=question,
            output=reply["output"],
            confidence=reply.get("confidence"),
            alternatives=tuple((row["label"], float(row["probability"])) for row in reply.get("alternatives") or ()),
            receipt=reply["receipt"],
        )

    def give_feedback(self, request_id: str, *, kind: str, correction: str = "", comment: str = "") -> str:
        """The feedback's id, once the gateway has it for good.

        The id follows from the answer's, so that a click too many stays one row, and a change of mind is refused.
        """
        feedback_id = uuid.uuid5(uuid.NAMESPACE_OID, f"{CHANNEL}/{request_id}").hex
        body = {"feedback_id": feedback_id, "request_id": request_id, "kind": kind, "channel": CHANNEL}
        body |= {name: text for name, text in (("correction", correction), ("comment", comment)) if text}
        with self._gateway(QUICK) as http:
            return str(_json(http.post("/v1/feedback", json=body))["feedback_id"])

    @contextlib.contextmanager
    def _gateway(self, timeout: httpx.Timeout) -> Iterator[httpx.Client]:
        key = self.settings.api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        with _translated("gateway", "the gateway"):
            url = addresses(self.settings).gateway
            with httpx.Client(base_url=url, timeout=timeout, headers=headers) as http:
                yield http


# ---------------------------------------------------------------- from their words to ours


@contextlib.contextmanager
def _translated(store: StoreName, name: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except _Refused as err:
        raise StoreError(store, err.message, err.remedy, is_down=err.status >= 500) from err
    except httpx.HTTPError as err:
        raise StoreError(store, f"{name} does not answer ({type(err).__name__})", "banyan status") from err
    except BanyanError as err:
        # What a client says of a lost connection fills a page; the log has it.
        message = f"{name} does not answer" if isinstance(err, RegistryUnavailable) else err.message
        log.warning("%s: %s", store, err.message)
        raise StoreError(store, message, err.remedy) from err
    except (KeyError, TypeError, ValueError) as err:
        raise StoreError(store, f"{name} answered in a form that is not known: {err!r}", is_down=False) from err


class _Refused(Exception):
    def __init__(self, status: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status, self.message, self.remedy = status, message, remedy


def _json(response: httpx.Response, *, missing: Any = None) -> Any:
    if response.status_code == 404 and missing is not None:
        return missing
    if response.is_error:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = response.json()["error"]
            raise _Refused(response.status_code, told["message"], told["remedy"])
        path = response.request.url.path
        raise _Refused(response.status_code, f"{path}: {response.status_code} {response.text[:200]}", "")
    return response.json()


def _data_version(manifest: "Manifest", licences: Mapping[str, str], head: "DataRef | None") -> DataVersion:
    sources: dict[str, dict[str, int]] = {}
    labels: dict[str, dict[str, int]] = {}
    for table, splits in manifest.rows.items():
        for summary in splits.values():
            for counts, total in ((summary.sources, sources), (summary.labels, labels)):
                for name, count in counts.items():
                    total.setdefault(table, {})[name] = total.get(table, {}).get(name, 0) + count
    return DataVersion(
        version=manifest.ref.version,
        name=manifest.name,
        created_at=manifest.created_at.timestamp(),
        parent=manifest.parent or "",
        is_head=head is not None and head.version == manifest.ref.version,
        rows={
            table: {split: summary.total for split, summary in splits.items()}
            for table, splits in manifest.rows.items()
        },
        sources=sources,
        labels=labels,
        licences=licences,
        rejects=manifest.rejects,
        changed=manifest.changed,
        num_checks=manifest.num_checks,
        docs=_path(manifest.docs),
    )


def _model(info: "VersionInfo", url: str) -> ModelVersion:
    ref = info.ref
    return ModelVersion(
        name=ref.name,
        version=ref.version,
        table=ref.name.removeprefix("banyan-"),
        task=info.task,
        role=info.role,
        is_champion="champion" in info.aliases,
        created_at=info.created_at,
        metrics=info.metrics,
        tags=info.tags,
        recipe=json.loads(info.tags.get("banyan.recipe", "{}")),
        run_id=ref.run_id,
        weights_sha256=ref.weights_sha256,
        url=f"{url}/#/models/{ref.name}/versions/{ref.version}",
    )


def _activity(ledger: "Ledger", table: str) -> TableActivity:
    by_version: dict[int, int] = {}
    for (_, version), count in ledger.num_answers(table).items():
        by_version[version] = by_version.get(version, 0) + count
    return TableActivity(
        table=table,
        num_answers=sum(by_version.values()),
        answers_by_version=by_version,
        kinds=ledger.num_feedback(table),
        fates={str(fate): count for fate, count in ledger.current_fates(table).items()},
        refusals=ledger.refusals(table),
        num_pending=ledger.unconsumed(table),
        corrected_now_right=ledger.corrected_now_right(table),
        cuts=tuple(ledger.cuts(table)),
    )


def _run(row: Mapping[str, Any], flows: Mapping[str, str], known: Mapping[str, Any], url: str) -> Run:
    parameters = row.get("parameters") or {}
    deployment = known.get(row.get("deployment_id") or "") or {}
    state = row.get("state") or {}
    tags = [tag[3:] for tag in row.get("tags") or () if tag.startswith("by:")]
    by = (row.get("created_by") or {}).get("type") or ""
    return Run(
        id=row["id"],
        name=row["name"],
        flow=flows.get(row["flow_id"], "?"),
        pool=deployment.get("name", ""),
        state=row.get("state_type") or "PENDING",
        state_name=row.get("state_name") or "",
        message=str(state.get("message") or ""),
        created_at=_seconds(row.get("start_time") or row.get("expected_start_time") or row["created"]) or 0.0,
        started_at=_seconds(row.get("start_time")),
        seconds=float(row.get("estimated_run_time") or row.get("total_run_time") or 0),
        table=str(parameters.get("table") or _table_of(parameters.get("recipe"))),
        parent=str(row.get("parent_task_run_id") or ""),
        url=f"{url}/runs/flow-run/{row['id']}",
        by=tags[0] if tags else str(by).lower(),
    )


def _table_of(recipe: object) -> str:
    return str(recipe.get("table") or recipe.get("name") or "") if isinstance(recipe, dict) else ""


def _running_steps(http: httpx.Client, run_ids: list[str]) -> dict[str, str]:
    wanted = {"flow_runs": {"id": {"any_": run_ids}}, "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    rows = _json(http.post("/task_runs/filter", json=wanted))
    return {row["flow_run_id"]: _step(row).name for row in rows}


def _step(row: Mapping[str, Any]) -> Step:
    name, _, tail = str(row["name"]).rpartition("-")  # Prefect appends a short random hex
    is_plain = name and len(tail) <= 4 and all(letter in "0123456789abcdef" for letter in tail)
    return Step(
        name if is_plain else str(row["name"]),
        row.get("state_type") or "PENDING",
        float(row.get("estimated_run_time") or 0),
    )


def _seat(row: Mapping[str, Any]) -> Seat:
    return Seat(
        table=row["table"],
        state=row["state"],
        problem=row.get("problem") or "",
        model=row.get("model") or f"banyan-{row['table']}",
        version=row.get("version"),
        task=row.get("task") or "",
        example=row.get("example") or "",
        labels=tuple(row.get("labels") or ()),
    )


def _seconds(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
