"""From a thumbs-down to a better model that answers, in minutes; and how long a whole turn of the loop takes.

Runs of `banyan demo` on a fresh workspace and a stack of its own; the assets are fetched before the clock starts.
While it runs, somebody asks the gateway the same question once a second. The clock of the first figure starts with the
first feedback that says that an answer was wrong, which the gateway took, and stops with the first answer given to that
somebody by the version that the gate promoted over the one that was wrong: so it holds the rest of the rating, the
quiet time before a retraining, screening, a data version, training, the gate, the promotion and the swap.

A second run shows what is saved by reuse; BENCH_TURNS=1 leaves it out. Run it on a machine that does nothing else:
torch slows out of proportion when it shares its cores.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import httpx

from components.assets import fetch
from components.errors import BanyanError
from components.feedback.closing import Closing
from components.ledger.store import Ledger
from components.recipes import load_recipe
from components.registry import PREFIX
from components.settings import Settings, load_settings
from components.supervisor import addresses
from flows.demo import assets_of
from flows.own import RECIPES

PACKAGES = ("prefect", "mlflow", "dvc", "great-expectations", "torch", "transformers")
TURNS = int(os.environ.get("BENCH_TURNS", "2"))
TABLE = "library"
QUESTION = "Return the shortest path between two nodes of a weighted graph."


class Visitor:
    """Asks once a second, while the gateway is there; when which version answered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.seen: list[tuple[float, int]] = []

    def _ask(self) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self._stop.wait(1.0):
                try:
                    url = f"{addresses(self._settings).gateway}/v1/tasks/{TABLE}"
                    reply = client.post(url, json={"input": QUESTION})
                except (BanyanError, httpx.HTTPError):
                    continue  # the stack starts, or stops
                if reply.is_success:
                    self.seen.append((time.time(), int(reply.json()["receipt"]["version"])))

    def __enter__(self) -> "Visitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(70)


def closing(settings: Settings, seen: list[tuple[float, int]]) -> Closing | None:
    """The loop that closed, from the ledger's rows and what the visitor was answered; None where none did."""
    with Ledger(settings) as ledger:
        rows = ledger.feedback_upto(TABLE, ledger.cut())
        wrong = next((row for row in rows if row.kind in ("reject", "correct")), None)
        moves = [
            entry
            for entry in ledger.journal(PREFIX + TABLE)
            if entry.state == "done" and entry.alias == "champion" and entry.action == "promote"
        ]
    if wrong is None:
        return None
    for move in moves:
        if move.at > wrong.at and move.from_version == wrong.model_version:
            first = next((at for at, answered_by in seen if answered_by == move.to_version), None)
            if first is not None:
                return Closing(wrong.at, wrong.model_version, move.at, move.to_version, first)
    return None


def one_turn(workspace: Path, assets: Path) -> tuple[dict[str, object], Closing | None]:
    """Seconds of the whole command, the demo's own figures, and the loop that closed in it."""
    figures = workspace / "figures.json"
    env = {**os.environ, "BANYAN_WORKSPACE": str(workspace), "BANYAN_ASSETS_DIR": str(assets)}
    settings = Settings(BANYAN_WORKSPACE=workspace)
    started = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", "demo", "--stop", "--json-file", str(figures)]
    with Visitor(settings) as visitor:
        subprocess.run(command, check=True, env=env, stdout=sys.stderr)
    seconds = round(time.monotonic() - started, 1)
    return {"seconds": seconds, "figures": json.loads(figures.read_text("utf-8"))}, closing(settings, visitor.seen)


def main() -> None:
    settings = load_settings()
    for name in assets_of(load_recipe(RECIPES / "loop.yaml")):
        fetch(name, settings=settings)
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
        turns = [one_turn(Path(folder) / "workspace", settings.workspace.assets) for _ in range(TURNS)]
    (first, closed), *again = turns
    if closed is None:
        sys.exit("the loop did not close: no version was promoted over the one that was wrong, and answered")
    before, after = f"v{closed.version_before}", f"v{closed.version_after}"
    print(f"{after} answered {closed.minutes:.1f} minutes after the first thumbs-down on {before}")
    seconds = {"first": first["seconds"]} | ({"second": again[0][0]["seconds"]} if again else {})
    ratios = {"first / second": round(float(str(seconds["first"])) / float(str(seconds["second"])), 2)} if again else {}
    figures = first["figures"]
    result = {
        "benchmark": "loop",
        "minutes_thumbs_down_to_better_model": round(closed.minutes, 2),
        "seconds_promotion_to_answer": round(closed.answers_at - closed.promoted_at, 2),
        "version_before": closed.version_before,
        "version_after": closed.version_after,
        "seconds": seconds,
        "ratios": ratios,
        "stages": figures["stages"],  # type: ignore[index]
        "figures": figures,
        "load_1m": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
