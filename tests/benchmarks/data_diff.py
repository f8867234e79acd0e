"""How long `banyan data diff` takes between two versions of a table of a million rows.

The tables are generated: 1,000,000 and 1,010,000 rows of about 70 characters, of which 30,000 are new, 20,000 gone,
1,960 have another label and 19,600 another split. What was planted must be what is found.
"""

import json
import os
import platform
import resource
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from components.data import tables
from components.data.diff import diff

REPEATS = 3
NUM_ROWS = 1_000_000


def write(folder: Path, numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]", *, is_later: bool) -> None:
    """One version: rows known by their numbers."""
    ids = [f"{(number * 0x9E3779B97F4A7C15) % (1 << 64):016x}" for number in numbers.tolist()]
    labels = np.array(["fruit", "metal", "stone"])[numbers % 3]
    frame = pd.DataFrame(
        {
            "id": ids,
            "text": [f"the row number {n} says something of about this length, which is usual" for n in numbers],
            "label": np.where(numbers % 1000 == (2 if is_later else 1), "wood", labels),
            "source": np.array(["a", "b", "c", "d"])[numbers % 4],
            "licence": "CC0-1.0",
            "group": ids,
            "origin": "file",
            "imputed": "",
        }
    )
    in_test = (numbers % 5 == 0) & ~((numbers % 50 == 0) & is_later)
    for split, mask in (("test", in_test), ("train", ~in_test)):
        tables.write_split(folder, "things", split, frame[mask], task="classification")
    tables.write_table_info(folder, "things", task="classification", labels=set(frame["label"]), licences={})


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        before, after = Path(root, "before"), Path(root, "after")
        write(before, np.arange(NUM_ROWS), is_later=False)
        write(after, np.arange(20_000, NUM_ROWS + 30_000), is_later=True)
        print(f"two versions of {NUM_ROWS:,} rows are written", flush=True)
        seconds, cpu_seconds = [], []
        for _ in range(REPEATS):
            started, cpu_started = time.perf_counter(), time.process_time()
            found = diff(before, after)["things"]
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - cpu_started)
            print(f"  {seconds[-1]:.2f} s, {cpu_seconds[-1]:.2f} s of CPU", flush=True)
    counted = [found.added.total, found.removed.total, found.changed.total, found.moved.total]
    assert counted == [30_000, 20_000, 1_960, 19_600], counted
    result = {
        "benchmark": "data_diff",
        "num_rows": NUM_ROWS,
        "seconds": round(statistics.median(seconds), 2),
        "cpu_seconds": round(statistics.median(cpu_seconds), 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "repeats": REPEATS,
        "load_1_min": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "pyarrow": version("pyarrow")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
