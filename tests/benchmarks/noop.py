"""How long a loop takes that has nothing to do: from the command to its exit, through a deployment.

A workspace of its own with one small loop, done once: a table of rows, a language model of two layers, a classifier
from MiniLM, feedback of the scripted rater, the retraining that starts by itself, its control. Then the same command
again and again. No flow is cached as a whole: the loop runs, and each of its parts takes the keys of its steps. CPU
seconds are those of the command, the run and the services meanwhile: they say more than the clock where other work
goes on.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import yaml

from components.settings import Settings, load_settings
from components.supervisor import leftovers

REPEATS = int(os.environ.get("REPEATS", "5"))
PACKAGES = ("prefect", "mlflow", "torch")

RECIPES: dict[str, dict[str, Any]] = {
    "data": {
        "kind": "ingest", "sources": [{"kind": "interpreter"}], "corpus_chars_per_source": 100_000,
        "max_text_chars": 300,
        "split_rows": {"train": 75, "test": 155, "pool": 60, "reserve": 80},
        "table_split_rows": {"summary": {"train": 20, "test": 20, "pool": 5, "reserve": 5}},
    },
    "gpt": {
        "kind": "pretrain", "table": "corpus", "family": "gpt", "vocab_size": 512, "num_layers": 2, "num_heads": 2,
        "hidden_size": 64, "num_steps": 10, "batch_size": 4, "max_length_tokens": 64, "optimizer": "adamw",
        "learning_rate": 1e-3, "checkpoint_every_steps": 10, "evaluate_every_steps": 10, "sample_tokens": 4,
    },
    "library": {
        "kind": "finetune", "task": "classification", "table": "library", "base": "minilm", "num_steps": 120,
        "splits": {"train": None, "feedback": None}, "batch_size": 16, "max_length_tokens": 64, "learning_rate": 3e-4,
        "checkpoint_every_steps": 60,
    },
    "loop": {
        "kind": "loop",
        "rater": {"kind": "rater", "table": "library", "split": "pool", "num_requests": 400, "silent_share": 0.25},
    },
}  # fmt: skip


def write_recipes(folder: Path) -> Path:
    """The loop's recipe; it names the others by their whole paths."""
    for name, content in RECIPES.items():
        more = {"ingest": "data", "pretrain": "gpt"} if name == "loop" else {}
        named = {key: str(folder / other) for key, other in more.items()}
        named |= {"finetune": [str(folder / "library")]} if name == "loop" else {}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **content, **named}), "utf-8")
    return folder / "loop.yaml"


@contextmanager
def stack(env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "flows.stack"], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if not any(line.startswith("the stack runs") for line in iter(process.stdout.readline, "")):
            raise SystemExit("the stack did not start")
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


def cpu_seconds(settings: Settings) -> float:
    """Of every process of the stack so far, with the ended children of each."""
    return sum(sum(process.cpu_times()[:4]) for process in leftovers(settings.workspace))


def turn(env: dict[str, str], recipe: Path) -> dict[str, Any]:
    settings = Settings(BANYAN_WORKSPACE=Path(env["BANYAN_WORKSPACE"]))
    before, own = cpu_seconds(settings), sum(psutil.Process().cpu_times()[2:4])
    started = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", "loop", str(recipe), "--json"]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"the loop ended with code {done.returncode}")
    used = cpu_seconds(settings) - before + sum(psutil.Process().cpu_times()[2:4]) - own
    return {"seconds": seconds, "cpu_seconds": used, "steps": json.loads(done.stdout)["steps"]}


def main() -> None:
    assets = str(load_settings().workspace.assets)
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        recipe = write_recipes(folder)
        env = {**os.environ, "BANYAN_WORKSPACE": str(folder / "workspace"), "BANYAN_ASSETS_DIR": assets}
        with stack(env):
            first = turn(env, recipe)
            print(f"the loop for the first time: {first['seconds']:.0f} s", flush=True)
            turn(env, recipe)  # it finds the retraining's champion in its place, and writes down the last keys
            turns = []
            for number in range(REPEATS):
                turns.append(turn(env, recipe))
                print(f"  nothing to do, {number + 1}: {turns[-1]['seconds']:.2f} s", flush=True)
    seconds = sorted(one["seconds"] for one in turns)
    result = {
        "benchmark": "noop",
        "seconds": round(statistics.median(seconds), 2),
        "worst_seconds": round(seconds[-1], 2),
        "cpu_seconds": round(statistics.median(one["cpu_seconds"] for one in turns), 2),
        "first_seconds": round(first["seconds"], 1),
        "steps_of_the_last": {name: round(spent, 2) for name, spent in turns[-1]["steps"].items()},
        "repeats": REPEATS,
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
