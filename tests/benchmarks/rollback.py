"""Seconds from `banyan rollback` to the first answer of the old version, under load, and how many requests failed.

A registry and a gateway of its own, with two versions of the demo's classifier (MiniLM, 22 M parameters; a head of its
own each: what they say does not matter here). Clients ask without a pause while the command runs, and each answer is
counted by the version in its receipt. Twice: *warm*, soon after the promotion, when the gateway still holds the old
version; and *cold*, after a restart of the gateway, when it must load it.

BENCH_CLIENTS (8) and BENCH_REPEATS (3) change how much is asked and how often.
"""

import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx

from components import assets
from components.errors import BanyanError
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.recipes import Finetune
from components.refs import DataRef, ModelRef
from components.registry import PREFIX, Registry
from components.settings import Settings, load_settings
from tests.mlflow_server import MlflowServer

ROOT = Path(__file__).parents[2]
CLIENTS = int(os.environ.get("BENCH_CLIENTS", "8"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
TABLE = "bench"
LABELS = [f"label {number}" for number in range(20)]
TEXT = "Return the shortest path between two nodes of a weighted graph."
START_SECONDS = 180.0
SETTLED_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
PACKAGES = ("mlflow", "fastapi", "uvicorn", "torch", "transformers")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def service(name: str, argv: list[str], url: str, *, env: dict[str, str], folder: Path) -> Iterator[None]:
    """A process of its own group, from the moment it answers until the block ends."""
    with (folder / f"{name}.log").open("w") as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said, env=env, cwd=ROOT, start_new_session=True)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not answers(url):
            if process.poll() is not None or time.monotonic() > give_up:
                sys.exit(f"{name} did not start:\n{(folder / f'{name}.log').read_text()[-2000:]}")
            time.sleep(0.1)
        print(f"  {name} is up", flush=True)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def two_versions(registry: Registry, folder: Path, settings: Settings) -> list[ModelRef]:
    """The base with a new head each, registered as trainings register theirs."""
    from components.models.pretrained import load_base
    from components.tasks import get_task

    weights, task = assets.weights("minilm", settings=settings), get_task("classification")
    refs = []
    for seed in (1, 2):
        given = {"name": TABLE, "task": "classification", "table": TABLE, "base": "minilm"}
        recipe = Finetune.model_validate({**given, "num_steps": 1, "learning_rate": 1e-4, "seed": seed})
        model, tokenizer = load_base(weights, task=task, labels=LABELS, recipe=recipe)
        made = folder / f"model-{seed}"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        data = DataRef(version="0" * 32, tables={})
        about = {"lock": {"key": f"bench-{seed}"}, "metrics": {"accuracy": 0.0}, "card": "# bench", "example": TEXT}
        refs.append(registry.register(PREFIX + TABLE, model_dir=made, task="classification", data=data, **about))
    return refs


class Load:
    """Clients that ask without a pause; what they were answered, and when."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self.seen: list[tuple[float, int]] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    reply = client.post(f"{self._url}/v1/tasks/{TABLE}", json={"input": TEXT})
                    reply.raise_for_status()
                    self.seen.append((time.monotonic(), int(reply.json()["receipt"]["version"])))
                except (httpx.HTTPError, KeyError, ValueError) as err:
                    self.failures.append(f"{type(err).__name__}: {err}")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def first(self, wanted: int, *, after: float) -> float:
        """When the first answer of a version came."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            for at, answered_by in list(self.seen):
                if at > after and answered_by == wanted:
                    return at
            time.sleep(0.01)
        sys.exit(f"v{wanted} did not answer within {PATIENCE_SECONDS:.0f} s")


def roll_back(load: Load, env: dict[str, str]) -> dict[str, float]:
    """Under load: the command, until the first answer of version 1."""
    time.sleep(SETTLED_SECONDS)
    started, num_before = time.monotonic(), len(load.seen)
    argv = [sys.executable, "-m", "flows.cli", "rollback", TABLE, "--reason", "benchmark"]
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"banyan rollback: {done.stderr}")
    command = time.monotonic() - started
    seconds = load.first(1, after=started) - started
    time.sleep(SETTLED_SECONDS)
    late = [at for at, answered_by in load.seen if answered_by == 2]
    return {
        "seconds": round(seconds, 2),
        "command_seconds": round(command, 2),
        "last_answer_of_the_new": round(max(late) - started, 2),
        "requests": len(load.seen) - num_before,
    }


def measure(folder: Path, settings: Settings) -> tuple[dict[str, list[dict[str, float]]], list[str]]:
    mlflow, gateway = MlflowServer(folder), free_port()
    workspace = folder / "workspace"
    urls = {"BANYAN_MLFLOW_URL": mlflow.url, "BANYAN_GATEWAY_URL": f"http://127.0.0.1:{gateway}"}
    env = {**os.environ, **urls, "BANYAN_WORKSPACE": str(workspace), "BANYAN_GATEWAY_PORT": str(gateway)}
    env |= {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    serve = [sys.executable, "-m", "components.serving.app"]
    found: dict[str, list[dict[str, float]]] = {"warm": [], "cold": []}
    failures: list[str] = []
    with mlflow:
        registry = Registry(mlflow.url)
        old, new = two_versions(registry, folder, settings)
        print(f"  {old} and {new} are registered", flush=True)
        own = Settings(BANYAN_WORKSPACE=workspace)
        with Ledger(own) as ledger:
            journal = Journal(ledger, own.workspace)
            ready = f"{urls['BANYAN_GATEWAY_URL']}/readyz"
            for number in range(REPEATS):
                journal.move(registry, old, actor="benchmark", evidence={})
                with service("gateway", serve, ready, env=env, folder=folder):
                    with Load(urls["BANYAN_GATEWAY_URL"]) as load:
                        journal.move(registry, new, actor="benchmark", evidence={})
                        load.first(2, after=0.0)
                        found["warm"].append(roll_back(load, env))
                    failures += load.failures
                journal.move(registry, new, actor="benchmark", evidence={})
                with service("gateway", serve, ready, env=env, folder=folder):
                    with Load(urls["BANYAN_GATEWAY_URL"]) as load:
                        load.first(2, after=0.0)
                        found["cold"].append(roll_back(load, env))
                    failures += load.failures
                print(f"  {number + 1}: warm {found['warm'][-1]}, cold {found['cold'][-1]}", flush=True)
            health = journal.verify(registry)
            assert health.ok, health.problems
    return found, failures


def main() -> None:
    settings = load_settings()
    print(f"{CLIENTS} clients, {REPEATS} times warm and cold:", flush=True)
    try:
        assets.weights("minilm", settings=settings)
    except BanyanError as err:
        print(f"the base's weights are not here: {err}", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as scratch:
        found, failures = measure(Path(scratch), settings)
    for failure in sorted(set(failures)):
        print(f"  failed {failures.count(failure)} times: {failure}")
    medians = {name: statistics.median(one["seconds"] for one in runs) for name, runs in found.items()}
    result = {
        "benchmark": "rollback",
        "seconds": medians["warm"],
        "seconds_cold": medians["cold"],
        "seconds_worst": max(one["seconds"] for runs in found.values() for one in runs),
        "requests_failed": len(failures),
        "requests": sum(int(one["requests"]) for runs in found.values() for one in runs),
        "clients": CLIENTS,
        "repeats": REPEATS,
        "runs": found,
        "load_1m": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
