"""How long it takes to start: `banyan --help` against importing what the platform stands on; a training's first step.

Imports: CPU seconds (user and system) of whole processes, median of 5, warm file cache; nothing runs beside them.
First step: seconds by the clock from the command `banyan train` to the end of the first optimiser step, a small GPT on
a running stack of its own with data ready, median of 5; each has its own seed, so each is trained. The tokenizer is
trained within it. FIRST_STEP=0 leaves it out.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from components.settings import Settings, load_settings
from components.supervisor import addresses
from tests.benchmarks.noop import stack, write_recipes

REPEATS = 5
COMMANDS = {
    "python": "pass",
    "banyan --help": "import sys; sys.argv = ['banyan', '--help']; from flows.cli import main; main()",
    "import components.recipes": "import components.recipes, components.settings",
    "import prefect": "import prefect",
    "import mlflow": "import mlflow",
    "import dvc.api": "import dvc.api",
    "import great_expectations": "import great_expectations",
    "import streamlit": "import streamlit",
    "import transformers": "import transformers",
    "import torch": "import torch",
    "import all seven": "import prefect, mlflow, dvc.api, great_expectations, streamlit, transformers, torch",
}
PACKAGES = ("prefect", "mlflow", "dvc", "great-expectations", "streamlit", "transformers", "torch", "typer")


def cpu_seconds(code: str) -> float:
    """User and system time of one Python process that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_steps() -> list[float]:
    """Seconds from the command to the end of the first step, each of another training."""
    import mlflow

    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        write_recipes(folder)
        workspace = folder / "workspace"
        assets = str(load_settings().workspace.assets)
        env = {**os.environ, "BANYAN_WORKSPACE": str(workspace), "BANYAN_ASSETS_DIR": assets}
        banyan = [sys.executable, "-m", "flows.cli"]
        found = []
        with stack(env):
            subprocess.run([*banyan, "ingest", "--recipe", str(folder / "data.yaml")], env=env, check=True)
            client = mlflow.MlflowClient(addresses(Settings(BANYAN_WORKSPACE=workspace)).mlflow)
            for seed in range(REPEATS + 1):
                command = [*banyan, "train", str(folder / "gpt.yaml"), "--set", f"seed={seed}"]
                begun = time.time()
                subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
                everywhere = [one.experiment_id for one in client.search_experiments()]
                [run] = client.search_runs(everywhere, order_by=["attributes.start_time DESC"], max_results=1)
                assert run.data.params["seed"] == str(seed)
                step = min(client.get_metric_history(run.info.run_id, "loss"), key=lambda one: one.step)
                found.append(step.timestamp / 1000 - begun)
                print(f"  first step after             {found[-1]:6.2f} s", flush=True)
        return found


def main() -> None:
    print(f"CPU seconds to start, median of {REPEATS} after one to warm up:")
    medians = {}
    for name, code in COMMANDS.items():
        cpu_seconds(code)
        medians[name] = statistics.median(cpu_seconds(code) for _ in range(REPEATS))
        print(f"  {name:<28} {medians[name]:6.2f} s", flush=True)
    first = first_steps() if os.environ.get("FIRST_STEP", "1") != "0" else []
    result = {
        "benchmark": "startup",
        "seconds_to_first_step": round(statistics.median(first[1:]), 2) if first else None,
        "all_seconds_to_first_step": [round(one, 2) for one in first],
        "cpu_seconds": {name: round(value, 3) for name, value in medians.items()},
        "ratios": {"all seven / banyan --help": round(medians["import all seven"] / medians["banyan --help"], 1)},
        "repeats": REPEATS,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load_average": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
