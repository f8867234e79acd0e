"""A commit is killed, and nothing is lost: neither the version before nor the next commit of the same data."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components.data import tables, versioning
from components.data.dvc_store import DvcStore
from components.settings import Settings
from tests.unit.data.remote_servers import s3_server

NUM_FILES = 800
"""Enough that a push takes a second or so, most of it collecting."""

COMMIT = """
import sys
from pathlib import Path
from components.data import versioning
from components.settings import Settings
versioning.commit(Path(sys.argv[1]), settings=Settings())
"""


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


def _staging(folder: Path, num_files: int) -> Path:
    tables.write_table_info(folder, "t", task="corpus", labels=(), licences={})
    tables.write_split(folder, "t", "train", tables.empty_frame("corpus"), task="corpus")
    for number in range(num_files):
        (folder / "t" / f"shard-{number}.txt").write_text(f"{folder.name} {number}")
    return folder


def _kill_during(step: str, staging: Path, delay_seconds: float) -> None:
    """Start a commit in a session of its own; kill all of it so long after DVC's `step` began."""
    child = subprocess.Popen([sys.executable, "-c", COMMIT, str(staging)], start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psutil.NoSuchProcess):  # one that ended between two looks
                running = psutil.Process(child.pid).children()
                if any(step in process.cmdline() for process in running):
                    time.sleep(delay_seconds)
                    break
            time.sleep(0.02)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize(("step", "delay_seconds"), [("add", 0.6), ("push", 0.7), ("push", 1.2)])
def test_a_killed_commit_leaves_the_last_version_and_can_be_done_again(tmp_path, settings, step, delay_seconds):
    first = versioning.commit(_staging(tmp_path / "first", 1), settings=settings)
    staging = _staging(tmp_path / "second", NUM_FILES)
    _kill_during(step, staging, delay_seconds)
    assert versioning.head(settings) in [first, versioning.versions(settings)[0].ref]  # the old one, or it was done

    second = versioning.commit(staging, settings=settings)
    assert versioning.head(settings) == second
    assert DvcStore(settings).missing(second.version) == []
    for lost in ("data/repo", "data/versions", "data/dvc-site-cache"):
        shutil.rmtree(settings.workspace.root / lost)
    folder = versioning.path_of(second, settings)
    assert tables.table_sha256(folder, "t") == second.tables["t"]
    assert len(list((folder / "t").iterdir())) == NUM_FILES + 2


def test_a_killed_push_to_s3_leaves_no_version_and_is_whole_when_done_again(tmp_path, settings, monkeypatch):
    with s3_server() as url:
        monkeypatch.setenv("BANYAN_DATA_REMOTE", url)
        there = Settings()
        staging = _staging(tmp_path / "only", 150)
        _kill_during("push", staging, 1.0)
        killed_at = versioning.head(there)
        ref = versioning.commit(staging, settings=there)
        assert killed_at in (None, ref)
        assert versioning.verify_remote(ref.version, settings=there) == ([], [])
