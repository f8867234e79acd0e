"""How long one turn of the loop takes, and how much of it a second run saves by reuse.

Two runs of `banyan demo` on a fresh workspace; the assets are fetched before the clock starts. Run it on a machine
that does nothing else: torch slows out of proportion when it shares its cores.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from components.assets import fetch
from components.recipes import load_recipe
from components.settings import load_settings
from flows.demo import assets_of
from flows.own import RECIPES

PACKAGES = ("prefect", "mlflow", "dvc", "great-expectations", "torch", "transformers")


def one_turn(workspace: Path, assets: Path) -> dict[str, object]:
    """Seconds of the whole command, and the demo's own figures."""
    figures = workspace / "figures.json"
    env = {**os.environ, "BANYAN_WORKSPACE": str(workspace), "BANYAN_ASSETS_DIR": str(assets)}
    started = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", "demo", "--stop", "--json-file", str(figures)]
    subprocess.run(command, check=True, env=env, stdout=sys.stderr)
    return {"seconds": round(time.monotonic() - started, 1), "figures": json.loads(figures.read_text("utf-8"))}


def main() -> None:
    settings = load_settings()
    for name in assets_of(load_recipe(RECIPES / "loop.yaml")):
        fetch(name, settings=settings)
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
        turns = [one_turn(Path(folder) / "workspace", settings.workspace.assets) for _ in range(2)]
    first, second = turns
    print(f"first run {first['seconds']} s, second run {second['seconds']} s")
    result = {
        "benchmark": "loop",
        "seconds": {"first": first["seconds"], "second": second["seconds"]},
        "ratios": {"first / second": round(float(str(first["seconds"])) / float(str(second["seconds"])), 2)},
        "stages": first["figures"]["stages"],  # type: ignore[index]
        "figures": first["figures"],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
