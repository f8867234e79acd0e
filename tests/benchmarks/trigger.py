"""How long it takes from the event to the first line of the retraining that it starts.

A whole stack of its own; its relay rings at one row, without a quiet period. Each time a row of feedback on a table of
its own is acknowledged; the ledger's bell rings, an automation of Prefect's starts the deployment, the worker takes the
run, and the clock stops at the first line that the flow's body logs: why it retrains, or why not (one row is not
enough for it). What lies between is told by the server's own times.
"""

import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings
from components.supervisor import addresses
from flows import stack

EVENTS = int(os.environ.get("EVENTS", "25"))
PATIENCE_SECONDS = 120.0
SEED = int(os.environ.get("SEED", "0"))
STAGES = ("rung", "asked for", "taken", "running", "first line")
FIRST_LINE = re.compile(r"(Granted|NotEnoughFeedback): ")
POLICY = "kind: trigger\nminimum_feedback: 1\nquiet_seconds: 0\n"


def give_feedback(settings: Settings, table: str) -> float:
    """One row; when it was acknowledged, in seconds since the epoch."""
    model = ModelRef(name=f"banyan-{table}", version=1, run_id="none", weights_sha256="none")
    request = str(uuid.uuid4())
    with Ledger(settings) as ledger:
        given = {"template_sha256": "", "generation": {}, "text": "a text", "output": "x", "confidence": 0.5}
        ledger.record_answer(request, table=table, model=model, **given)
        ledger.record_feedback(str(uuid.uuid4()), request_id=request, kind="approve")
    return time.time()


def seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def one_event(api: httpx.Client, settings: Settings, table: str) -> dict[str, float]:
    """Stage → seconds since the row of feedback was acknowledged."""
    begun = give_feedback(settings, table)
    deadline = time.monotonic() + PATIENCE_SECONDS
    run: Mapping[str, Any] | None = None
    while time.monotonic() < deadline:
        runs = api.post("/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 20}).json()
        run = next((one for one in runs if one["parameters"].get("table") == table), None)
        if run is not None:
            wanted = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC", "limit": 50}
            lines = api.post("/logs/filter", json=wanted).json()
            first = next((line for line in lines if FIRST_LINE.match(line["message"])), None)
            if first is not None:
                break
        time.sleep(0.5)
    else:
        raise SystemExit(f"no retraining of {table} began in {PATIENCE_SECONDS:.0f} s (run: {run and run['id']})")
    states = api.get("/flow_run_states/", params={"flow_run_id": run["id"]}).json()
    at = {state["type"]: seconds(state["timestamp"]) for state in reversed(states)}
    events = {"filter": {"event": {"name": ["banyan.feedback.ready"]}, "resource": {"id": [f"banyan.table.{table}"]}}}
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < deadline:  # Prefect writes events down every five seconds
        found = api.post("/events/filter", json=events).json()["events"]
        time.sleep(0.0 if found else 0.5)
    rung = min((seconds(event["occurred"]) for event in found), default=begun)
    moments = (rung, seconds(run["created"]), at["PENDING"], at["RUNNING"], seconds(first["timestamp"]))
    return {name: moment - begun for name, moment in zip(STAGES, moments, strict=True)}


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def main() -> None:
    dice = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        policy = Path(name) / "retrain-when.yaml"
        policy.write_text(POLICY, "utf-8")
        env = {**os.environ, "BANYAN_WORKSPACE": f"{name}/workspace", "BENCH_POLICIES": name}
        settings = Settings(BANYAN_WORKSPACE=Path(env["BANYAN_WORKSPACE"]))
        own = [sys.executable, "-m", "tests.benchmarks.trigger", "stack"]
        process = subprocess.Popen(own, env=env, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            if not any(line.startswith("the stack runs") for line in iter(process.stdout.readline, "")):
                raise SystemExit("the stack did not start")
            time.sleep(10.0)
            found = []
            with httpx.Client(base_url=f"{addresses(settings).prefect}/api", timeout=30, trust_env=False) as api:
                for number in range(EVENTS + 1):
                    one = one_event(api, settings, f"bell{number}")
                    with Ledger(settings) as ledger:  # else it would be rung for again in a minute
                        ledger.consume(f"bell{number}", ledger.cut(), outcome="refused")
                    print("  " + ", ".join(f"{stage} {at:.2f}" for stage, at in one.items()), flush=True)
                    found += [one] if number else []  # the first one warms up
                    time.sleep(dice.uniform(0.5, 3.0))  # at any moment of everybody's polling
        finally:
            process.terminate()
            process.communicate(timeout=60)
    whole = [one["first line"] for one in found]
    between = {
        later: [one[later] - (one[earlier] if earlier else 0.0) for one in found]
        for earlier, later in zip(("", *STAGES), STAGES, strict=False)
    }
    result = {
        "benchmark": "trigger",
        "event_to_first_line_p95_seconds": round(quantile(whole, 0.95), 2),
        "event_to_first_line_median_seconds": round(statistics.median(whole), 2),
        "event_to_first_line_worst_seconds": round(max(whole), 2),
        "bell_to_first_line_p95_seconds": round(quantile([one["first line"] - one["rung"] for one in found], 0.95), 2),
        "until_median_seconds": {stage: round(statistics.median(spent), 2) for stage, spent in between.items()},
        "until_worst_seconds": {stage: round(max(spent), 2) for stage, spent in between.items()},
        "events": len(found),
        "seed": SEED,
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "prefect": version("prefect")},
    }
    print(json.dumps(result))


def run_stack() -> int:
    """The stack, with a trigger of one row for the relay."""
    folder = Path(os.environ["BENCH_POLICIES"])
    for recipe in stack.RECIPES.glob("*.yaml"):
        if not (folder / recipe.name).exists():
            (folder / recipe.name).write_text(recipe.read_text("utf-8"), "utf-8")
    stack.RECIPES = folder
    return stack.main()


if __name__ == "__main__":
    sys.exit(run_stack() if sys.argv[1:] == ["stack"] else main())
