"""Processes that write to the ledger are killed, and disks fill up: what was acknowledged is there."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from components.ledger.store import Ledger
from components.settings import Settings
from tests.benchmarks import ledger as bench

ROOT = Path(__file__).parents[2]
WRITER = Path(__file__).with_name("ledger_writer.py")


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


def writer(first: int, *limits: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(WRITER), str(first), *limits],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def check(settings: Settings, acknowledged: list[str]) -> None:
    """All acknowledged rows are there, each with its fate and its outbox row, and so is nothing half-written."""
    with sqlite3.connect(settings.workspace.ledger) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert other.execute("PRAGMA foreign_key_check").fetchall() == []
    with Ledger(settings) as ledger:
        rows = ledger.feedback_upto("library", ledger.cut())
        ids = {row.feedback_id for row in rows}
        assert set(acknowledged) <= ids
        assert len(ids) - len(acknowledged) <= 8, "at most one unsaid row a writer and kill"
        assert [row.sequence for row in rows] == list(range(1, len(rows) + 1)), "no gap"
        assert ledger.current_fates("library")["received"] == len(rows) == ledger.num_undelivered()


def test_kill_9_of_writers_loses_no_acknowledged_row(settings):
    acknowledged: list[str] = []
    for turn in range(3):
        writers = [writer(turn * 200_000 + which * 100_000) for which in range(2)]
        for process in writers:
            assert process.stdout
            for _ in range(25 + 7 * turn):
                acknowledged.append(process.stdout.readline().strip())
        for process in writers:
            process.send_signal(signal.SIGKILL)  # in the middle of whatever it is at
        for process in writers:
            assert process.stdout
            acknowledged += process.stdout.read().split()
            assert process.wait() == -signal.SIGKILL
    assert len(acknowledged) >= 6 * 25
    check(settings, acknowledged)


def test_kill_9_of_sixteen_threads_that_share_their_commits_loses_no_acknowledged_row(tmp_path, monkeypatch):
    """The benchmark, shorter: it counts, and reads the pragmas back on every connection."""
    monkeypatch.setattr(bench, "SECONDS", 1.0)
    found = bench.measure(tmp_path, rounds=2, together=64)
    assert (found["kills"], found["acknowledged_lost"]) == (1, 0)
    assert found["rows"] > 100


def test_a_full_disk_is_said_and_what_was_acknowledged_stays(settings):
    process = writer(0, "1500000")
    said, _ = process.communicate(timeout=120)
    *acknowledged, last = said.splitlines()
    assert process.returncode == 0
    assert last.startswith("refused the ledger could not be written"), last
    assert len(acknowledged) > 10
    check(settings, acknowledged)
    with Ledger(settings) as ledger:
        before = ledger.cut()
        request = ledger.answers(limit=1)[0].request_id
        assert ledger.record_feedback("afterwards", request_id=request, kind="reject") == before + 1
