"""Seconds and peak memory of validating a table of a million rows, as an ingest does it, in a process of its own.

The engine is Great Expectations' pandas one: the frame is in memory anyway, and its vectorised checks beat handing a
million rows to SQLite; DuckDB's dialect makes every check raise.
"""

import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

NUM_ROWS = 1_000_000
LABELS = ("billing", "delivery", "praise", "complaint", "question")
WORDS = tuple("abcdefghijklmnopqrstuvwxyz")


def write(folder: Path) -> None:
    """A sound table of so many short texts: 80 % train, 20 % test."""
    import pandas as pd

    from components.data import tables

    draw = random.Random(0)
    rows = []
    for number in range(NUM_ROWS):
        customer = f"customer {number}"
        text = f"{' '.join(draw.choice(WORDS) * 4 for _ in range(12))} {number}"
        rows.append((tables.content_id(text), text, LABELS[number % 5], "shop", "CC0-1.0", customer, "file", ""))
    frame = pd.DataFrame(rows, columns=list(tables.columns("classification")))
    edge = int(0.8 * NUM_ROWS)
    for split, part in (("train", frame[:edge]), ("test", frame[edge:])):
        tables.write_split(folder, "tickets", split, part, task="classification")
    tables.write_table_info(folder, "tickets", task="classification", labels=LABELS, licences={"shop": "CC0-1.0"})


def measure(folder: Path) -> None:
    """What the process prints: seconds with the import of Great Expectations, and its own peak."""
    from components.data.validation import validate
    from components.settings import Workspace

    started, started_cpu = time.perf_counter(), time.process_time()
    data = folder / "staging" / "data"
    report = validate(data, workspace=Workspace(root=folder / "workspace"), accepted=data)
    seconds = time.perf_counter() - started
    used = time.process_time() - started_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": round(seconds, 2),
                "cpu_seconds": round(used, 2),
                "peak_mb": round(peak),
                "checks": len(report.checks),
            }
        )
    )


def main() -> None:
    if len(sys.argv) > 1:
        step = {"write": lambda folder: write(folder / "staging" / "data"), "measure": measure}[sys.argv[1]]
        step(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as folder:
        for step in ("write", "measure"):
            started = time.perf_counter()
            command = [sys.executable, "-m", "tests.benchmarks.validation", step, folder]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            print(f"{step}: {time.perf_counter() - started:.1f} s", flush=True)
    result = {
        "benchmark": "validation",
        "rows": NUM_ROWS,
        **json.loads(out.strip().splitlines()[-1]),
        "engine": "pandas",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("great-expectations", "pandas", "pyarrow", "numpy")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
