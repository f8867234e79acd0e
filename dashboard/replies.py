"""What a store replied, as `records`, and its errors as the one error."""

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from components.errors import BanyanError, RegistryUnavailable
from dashboard.records import (
    Answered,
    Bin,
    DataVersion,
    ModelVersion,
    Planned,
    Run,
    Seat,
    Step,
    StoreError,
    StoreName,
    TableActivity,
)

if TYPE_CHECKING:
    import pandas as pd

    from components.data.versioning import Manifest
    from components.ledger.store import Ledger
    from components.refs import DataRef
    from components.registry import VersionInfo

log = logging.getLogger("banyan.dashboard")
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


@contextlib.contextmanager
def translated(store: StoreName, name: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Refused as err:
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


class Refused(Exception):
    def __init__(self, status: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status, self.message, self.remedy = status, message, remedy


def json_of(response: httpx.Response, *, missing: Any = None) -> Any:
    if response.status_code == 404 and missing is not None:
        return missing
    if response.is_error:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = response.json()["error"]
            raise Refused(response.status_code, told["message"], told["remedy"])
        path = response.request.url.path
        raise Refused(response.status_code, f"{path}: {response.status_code} {response.text[:200]}", "")
    return response.json()


def data_version(manifest: "Manifest", licences: Mapping[str, str], head: "DataRef | None") -> DataVersion:
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
        docs=path_of(manifest.docs),
        tokens=manifest.tokens,
        tables=manifest.ref.tables,
    )


def model_version(info: "VersionInfo", url: str) -> ModelVersion:
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


def activity(ledger: "Ledger", table: str) -> TableActivity:
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


def run_of(row: Mapping[str, Any], flows: Mapping[str, str], known: Mapping[str, Any], url: str) -> Run:
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
        created_at=seconds_of(row.get("start_time") or row.get("expected_start_time") or row["created"]) or 0.0,
        started_at=seconds_of(row.get("start_time")),
        seconds=float(row.get("estimated_run_time") or row.get("total_run_time") or 0),
        table=str(parameters.get("table") or table_of(parameters.get("recipe"))),
        parent=str(row.get("parent_task_run_id") or ""),
        url=f"{url}/runs/flow-run/{row['id']}",
        by=tags[0] if tags else str(by).lower(),
    )


def table_of(recipe: object) -> str:
    return str(recipe.get("table") or recipe.get("name") or "") if isinstance(recipe, dict) else ""


def running_steps(http: httpx.Client, run_ids: list[str]) -> dict[str, str]:
    wanted = {"flow_runs": {"id": {"any_": run_ids}}, "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    rows = json_of(http.post("/task_runs/filter", json=wanted))
    return {row["flow_run_id"]: step_of(row).name for row in rows}


def step_of(row: Mapping[str, Any]) -> Step:
    name, _, tail = str(row["name"]).rpartition("-")  # Prefect appends a short random hex
    is_plain = name and len(tail) <= 4 and all(letter in "0123456789abcdef" for letter in tail)
    return Step(
        name if is_plain else str(row["name"]),
        row.get("state_type") or "PENDING",
        float(row.get("estimated_run_time") or 0),
    )


def seat_of(row: Mapping[str, Any]) -> Seat:
    return Seat(
        table=row["table"],
        state=row["state"],
        problem=row.get("problem") or "",
        model=row.get("model") or f"banyan-{row['table']}",
        version=row.get("version"),
        task=row.get("task") or "",
        example=row.get("example") or "",
        labels=tuple(row.get("labels") or ()),
        has_challenger=bool(row.get("has_challenger")),
    )


def answered_of(reply: Mapping[str, Any], table: str, question: str) -> Answered:
    return Answered(
        request_id=reply["request_id"],
        table=table,
        question=question,
        output=reply["output"],
        confidence=reply.get("confidence"),
        alternatives=tuple((row["label"], float(row["probability"])) for row in reply.get("alternatives") or ()),
        receipt=reply["receipt"],
    )


def bins_of(rows: "pd.DataFrame", *, num_bins: int = 10) -> tuple[Bin, ...]:
    """Answers by their confidence; none where there is no confidence, or nobody was sure of anything."""
    if "confidence" not in rows or rows["confidence"].isna().any() or rows.empty:
        return ()
    place = (rows["confidence"] * num_bins).clip(upper=num_bins - 0.001).astype(int)
    return tuple(
        Bin(float(part["confidence"].mean()), float(part["score"].mean()), len(part)) for _, part in rows.groupby(place)
    )


def plan_of(path: Path) -> Planned | None:
    """A plan of `training.plan`, read without its module; None for one that is not whole."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text("utf-8"))
        here = content["here"]
        actual = content.get("actual_seconds")
        names = content["name"], float(here["seconds"]), float(here["kwh"]), float(here["cost"])
        return Planned(*names, None if actual is None else float(actual), content["lock_key"])
    return None


def stamp_of(at: float) -> str:
    """Seconds since the epoch as Prefect reads them."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def seconds_of(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def path_of(text: str | None) -> Path | None:
    return Path(text) if text else None


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None


def framed(html: str) -> str:
    """A validation report's page without what it would fetch from the net, in our style."""
    html = re.sub(r"<script\b.*?</script>|<link\b[^>]*>", "", html, flags=re.DOTALL)
    return html.replace("</head>", f"<style>{REPORT_STYLE}</style></head>", 1)
