"""Feedback rows a second from sixteen writers on SQLite, with `kill -9` in the middle, and how many were lost.

A process with sixteen threads (as the gateway's) writes; each row's id goes to a file of its own thread's, with its
latency, once the ledger has acknowledged it. The process is killed without warning, twice, and started again on the
same ledger. Then every acknowledged id is looked for. The pragmas are read back on every connection that was opened.

Beside it, in the same run: the same rows with a transaction and a sync each, which is what group commit saves.
"""

import json
import os
import platform
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import event

from components.ledger.group_commit import GroupCommit
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import load_settings

ROOT = Path(__file__).parents[2]
NUM_WRITERS = 16
SECONDS = 6.0
ROUNDS = 3
"""All but the last end by `kill -9`."""
MODEL = ModelRef(name="banyan-library", version=1, run_id="r", weights_sha256="0" * 64)


def write_on(folder: Path, turn: int, *, together: int) -> None:
    """The writing process: never ends by itself."""
    ledger = Ledger(load_settings())
    pragmas: list[tuple[object, ...]] = []

    @event.listens_for(ledger.database._engine, "checkout")
    def _look(connection: sqlite3.Connection, *_: object) -> None:
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        pragmas.append(tuple(found))

    ledger.database._groups = GroupCommit(ledger.database._writer, most_together=together)
    for writer in range(NUM_WRITERS):
        ledger.record_answer(
            f"request-{turn}-{writer}",
            table="library",
            model=MODEL,
            template_sha256="",
            generation={},
            text="Return the shortest path between two nodes of a weighted graph.",
            output="sympy",
        )
    start = threading.Barrier(NUM_WRITERS + 1)

    def work(writer: int) -> None:
        with (folder / f"{turn}-{writer}.txt").open("w", buffering=1) as said:  # a line is with the kernel when written
            start.wait()
            number = 0
            while True:
                feedback_id = f"feedback-{turn}-{writer}-{number}"
                before = time.perf_counter()
                ledger.record_feedback(
                    feedback_id,
                    request_id=f"request-{turn}-{writer}",
                    kind="correct",
                    correction="networkx",
                    comment="It is about graphs.",
                    subject=f"reader {number % 50}",
                )
                said.write(f"{feedback_id} {time.perf_counter() - before:.6f}\n")
                number += 1

    for writer in range(NUM_WRITERS):
        threading.Thread(target=work, args=(writer,), daemon=True).start()
    start.wait()
    print("writing", flush=True)
    sys.stdin.readline()
    assert set(pragmas) == {("wal", 2)}, pragmas
    print("pragmas held on every connection", flush=True)
    sys.stdin.readline()


def run_round(folder: Path, turn: int, *, together: int = 64, kill: bool = True) -> float:
    """Let the process write for a while; how many seconds it wrote."""
    argv = [sys.executable, "-m", "tests.benchmarks.ledger", "write", str(folder), str(turn), str(together)]
    env = {**os.environ, "BANYAN_WORKSPACE": str(folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=env, cwd=ROOT) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "writing\n"
        started = time.perf_counter()
        time.sleep(SECONDS)
        seconds = time.perf_counter() - started
        if not kill:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("pragmas held")
        process.send_signal(signal.SIGKILL)
    return seconds


def acknowledged(folder: Path) -> tuple[list[str], list[float]]:
    """The ids that the ledger said it has, and after how many seconds each."""
    ids, seconds = [], []
    for file in sorted(folder.glob("*.txt")):
        for line in file.read_text("utf-8").splitlines():
            feedback_id, _, took = line.partition(" ")
            if took:  # the last line may be torn: then nobody was told
                ids.append(feedback_id)
                seconds.append(float(took))
    return ids, seconds


def cpu_seconds_of_children() -> float:
    """User and system time, starting included: of use where the machine does other work beside."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, *, rounds: int, together: int) -> dict[str, float]:
    seconds, cpu = 0.0, cpu_seconds_of_children()
    for turn in range(rounds):
        seconds += run_round(folder, turn, together=together, kill=turn < rounds - 1)
    cpu = cpu_seconds_of_children() - cpu
    ids, took = acknowledged(folder)
    took.sort()
    with sqlite3.connect(folder / "ledger.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {row[0] for row in database.execute("SELECT feedback_id FROM feedback")}
        received = {row[0] for row in database.execute("SELECT feedback_id FROM fates WHERE fate = 'received'")}
    assert kept == received, "a row without its fate"
    return {
        "rows_per_second": round(len(ids) / seconds, 1),
        "rows": len(ids),
        "cpu_ms_per_row": round(cpu / len(ids) * 1000, 3),
        "acknowledged_lost": len(set(ids) - kept),
        "kills": rounds - 1,
        "p50_ms": round(took[len(took) // 2] * 1000, 2),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 2),
        "max_ms": round(took[-1] * 1000, 2),
    }


def main() -> None:
    print(f"{NUM_WRITERS} writers, {ROUNDS} rounds of {SECONDS:.0f} s, kill -9 at the end of all but the last:")
    with tempfile.TemporaryDirectory(prefix="banyan-bench-", dir=Path.cwd()) as scratch:
        found = measure(Path(scratch), rounds=ROUNDS, together=64)
        print(f"  together: {found}", flush=True)
    with tempfile.TemporaryDirectory(prefix="banyan-bench-", dir=Path.cwd()) as scratch:
        each = measure(Path(scratch), rounds=1, together=1)
        print(f"  a sync each: {each}", flush=True)
    result = {
        "benchmark": "ledger",
        **found,
        "writers": NUM_WRITERS,
        "a_sync_each": each,
        "ratio_of_rows_per_second": round(found["rows_per_second"] / each["rows_per_second"], 2),
        "journal_mode": "wal",
        "synchronous": "FULL",
        "load_1m": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "sqlalchemy": version("sqlalchemy"),
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write_on(Path(sys.argv[2]), int(sys.argv[3]), together=int(sys.argv[4]))
    else:
        main()
