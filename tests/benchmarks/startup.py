"""How much of a command's time goes into starting: `banyan --help` against importing what the platform stands on.

CPU seconds (user and system) of whole processes, median of 5, warm file cache; nothing runs beside them.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from importlib.metadata import version

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


def main() -> None:
    print(f"CPU seconds to start, median of {REPEATS} after one to warm up:")
    medians = {}
    for name, code in COMMANDS.items():
        cpu_seconds(code)
        medians[name] = statistics.median(cpu_seconds(code) for _ in range(REPEATS))
        print(f"  {name:<28} {medians[name]:6.2f} s", flush=True)
    result = {
        "benchmark": "startup",
        "cpu_seconds": {name: round(value, 3) for name, value in medians.items()},
        "ratios": {"all seven / banyan --help": round(medians["import all seven"] / medians["banyan --help"], 1)},
        "repeats": REPEATS,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
