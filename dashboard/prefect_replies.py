"""What Prefect's server says of runs, schedules and workers, as `records`."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx

from dashboard.records import Orchestration, RunDetail, Schedule
from dashboard.replies import json_of, run_of, running_steps, seconds_of, stamp_of, step_of, table_of

DUE = {"SCHEDULED", "PENDING"}
"""States of a run that waits for a worker."""


def orchestration_of(http: httpx.Client, url: str, *, limit: int) -> Orchestration:
    """Recent runs, what they are at, what can be started and what will start by itself."""
    # Not what schedules have planned: the dates to come would stand before all that has happened.
    due = {"expected_start_time": {"before_": stamp_of(time.time() + 60)}}
    recent = {"flow_runs": due, "sort": "START_TIME_DESC", "limit": limit}
    raw = json_of(http.post("/flow_runs/filter", json=recent))
    flows = {row["id"]: row["name"] for row in json_of(http.post("/flows/filter", json={"limit": 100}))}
    known = {row["id"]: row for row in json_of(http.post("/deployments/filter", json={"limit": 100}))}
    running = [row["id"] for row in raw if row["state_type"] == "RUNNING"]
    steps = running_steps(http, running) if running else {}
    planned = planned_runs(http) if any(row.get("schedules") for row in known.values()) else []
    waiting = {row.get("work_pool_name") or "cpu" for row in raw if row["state_type"] in DUE}
    online = {pool: num_online(http, pool) for pool in {"cpu", *waiting}}
    runs = sorted((run_of(row, flows, known, url) for row in raw), key=lambda run: -run.created_at)
    names = sorted(f"{flows.get(row['flow_id'], '?')}/{row['name']}" for row in known.values())
    schedules = tuple(schedules_of(known.values(), flows, planned))
    unserved = frozenset(pool for pool, count in online.items() if not count)
    return Orchestration(tuple(runs), steps, tuple(names), online["cpu"], url, schedules, unserved)


def run_detail(http: httpx.Client, run_id: str) -> RunDetail:
    """Steps, progress and the last log lines of a run and of what it started."""
    steps = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
    started = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}
    # At once, since somebody waits for them and each takes a busy server a quarter of a second. Few runs have started
    # others: those are asked again together with these.
    tasks, children, bars, lines = _at_once(
        http, [("/task_runs/filter", steps), ("/flow_runs/filter", started), *_said_by([run_id])]
    )
    if children:
        bars, lines = _at_once(http, _said_by([run_id, *(child["id"] for child in children)]))
    bar = bars[0] if bars and bars[0].get("data") is not None else None
    return RunDetail(
        steps=tuple(step_of(task) for task in tasks),
        progress=(float(bar["data"]), str(bar.get("description") or "")) if bar else None,
        log=tuple(
            (seconds_of(line["timestamp"]) or 0.0, int(line["level"]), str(line["message"])) for line in reversed(lines)
        ),
    )


def _said_by(family: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """The requests for the newest progress and the last log lines of these runs."""
    bar = {"flow_run_id": {"any_": [*family]}, "type": {"any_": ["progress"]}}
    log = {"flow_run_id": {"any_": [*family]}}
    return [
        ("/artifacts/filter", {"artifacts": bar, "sort": "UPDATED_DESC", "limit": 1}),
        ("/logs/filter", {"logs": log, "sort": "TIMESTAMP_DESC", "limit": 60}),
    ]


def _at_once(http: httpx.Client, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
    """What each request is answered with; the first that fails fails all."""
    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(lambda one: json_of(http.post(one[0], json=one[1])), asked))


def planned_runs(http: httpx.Client) -> list[Mapping[str, Any]]:
    """What schedules will start next, soonest first."""
    wanted = {
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "expected_start_time": {"after_": stamp_of(datetime.now(UTC).timestamp())},
    }
    body = {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_ASC", "limit": 100}
    found: list[Mapping[str, Any]] = json_of(http.post("/flow_runs/filter", json=body))
    return found


def num_online(http: httpx.Client, pool: str) -> int:
    """Workers of a pool that are there."""
    workers = json_of(http.post(f"/work_pools/{pool}/workers/filter", json={}), missing=[])
    return sum(row.get("status") == "ONLINE" for row in workers)


def schedules_of(
    deployments: Iterable[Mapping[str, Any]], flows: Mapping[str, str], planned: Iterable[Mapping[str, Any]]
) -> Iterator[Schedule]:
    """The deployments' cron schedules, by name, each with the times of the runs that are planned by it."""
    times: dict[str, list[float]] = {}
    for row in planned:
        by = str((row.get("created_by") or {}).get("id") or "")
        times.setdefault(by, []).append(seconds_of(row["expected_start_time"]) or 0.0)
    found = [(row, one) for row in deployments for one in row.get("schedules") or () if "cron" in one["schedule"]]
    for row, one in sorted(found, key=lambda pair: str(pair[1].get("slug") or "")):
        given = one.get("parameters") or {}
        yield Schedule(
            name=str(one.get("slug") or one["id"]),
            flow=flows.get(row["flow_id"], "?"),
            of=str(given.get("table") or given.get("model") or table_of(given.get("recipe"))),
            cron=one["schedule"]["cron"],
            timezone=one["schedule"].get("timezone") or "UTC",
            is_active=bool(one["active"]) and not row.get("paused"),
            next_at=tuple(times.get(str(one["id"]), ())[:3]),
        )
