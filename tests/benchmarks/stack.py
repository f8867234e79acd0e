"""How long the local stack takes to be ready and to stop, and what it holds in memory.

A workspace of its own: one start that makes the databases, then three warm ones. Where the settings' workspace has
champions (`make demo` leaves them), the stack is started on it as well, and what its gateway holds beyond an empty one
is divided by the models it serves. PSS is the proportional set size: what n processes share counts for 1/n in each.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil

from components.settings import Settings, load_settings
from components.supervisor import addresses, leftovers, read_stack

REPEATS = 3
SETTLED_SECONDS = 10.0
MODELS_SECONDS = 120.0
PACKAGES = ("prefect", "mlflow", "streamlit", "fastapi", "torch")


@dataclass
class Turn:
    """One start and stop."""

    ready_seconds: float
    stop_seconds: float = 0.0
    pss_mb: dict[str, float] = field(default_factory=dict)
    """By service, its own children with it; `supervisor` is what watches them."""
    models: list[str] = field(default_factory=list)


def pss_mb(settings: Settings) -> dict[str, float]:
    stack = read_stack(settings)
    assert stack is not None
    name_of = {service["pid"]: service["name"] for service in stack["services"]}
    held: dict[str, float] = {}
    for process in {psutil.Process(stack["pid"]), *leftovers(settings.workspace)}:
        owner = next((name_of[one.pid] for one in (process, *process.parents()) if one.pid in name_of), "supervisor")
        held[owner] = held.get(owner, 0.0) + process.memory_full_info().pss / 1e6
    return held


def models_served(settings: Settings) -> list[str]:
    """Those that the gateway answers with, once none is on its way any more."""
    deadline = time.monotonic() + MODELS_SECONDS
    while time.monotonic() < deadline:
        found = httpx.get(f"{addresses(settings).gateway}/v1/models", timeout=10).json()["models"]
        if found and all(model["state"] == "ready" for model in found):
            return [str(model["table"]) for model in found]
        time.sleep(0.5)
    return []


def turn(workspace: Path, *, with_models: bool = False) -> Turn:
    env = {**os.environ, "BANYAN_WORKSPACE": str(workspace)}
    settings = Settings(BANYAN_WORKSPACE=workspace)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "flows.stack"], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("the stack runs"):
            break
    else:
        raise SystemExit("".join(said))
    done = Turn(ready_seconds=time.monotonic() - started)
    try:
        time.sleep(SETTLED_SECONDS)
        done.models = models_served(settings) if with_models else []
        done.pss_mb = pss_mb(settings)
    finally:
        stopping = time.monotonic()
        process.terminate()
        process.communicate(timeout=60)
        done.stop_seconds = time.monotonic() - stopping
    assert not leftovers(settings.workspace), "a process was left"
    return done


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
        cold, *warm = (turn(Path(folder) / "workspace") for _ in range(1 + REPEATS))
    without = {name: statistics.median(one.pss_mb[name] for one in warm) for name in warm[0].pss_mb}
    for name, held in sorted(without.items(), key=lambda item: -item[1]):
        print(f"  {name:<12} {held:7.0f} MB")
    per_model = None
    settings = load_settings()
    if settings.workspace.root.joinpath("ledger.db").is_file():
        served = turn(settings.workspace.root, with_models=True)
        if served.models:
            per_model = round((served.pss_mb["gateway"] - without["gateway"]) / len(served.models))
            print(f"  with {', '.join(served.models)}: {per_model} MB a model")
    result = {
        "benchmark": "stack",
        "ready_seconds": round(statistics.median(one.ready_seconds for one in warm), 1),
        "first_ready_seconds": round(cold.ready_seconds, 1),
        "stop_seconds": round(statistics.median(one.stop_seconds for one in warm), 1),
        "pss_mb_without_models": round(sum(without.values())),
        "pss_mb_per_model": per_model,
        "pss_mb": {name: round(held) for name, held in without.items()},
        "repeats": REPEATS,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
