"""The gateway as a process, beside a registry that does not answer."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from components.serving.app import listen

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hung_registry() -> Iterator[str]:
    """Takes connections and says nothing."""
    with listen("127.0.0.1", 0) as sock:
        sock.listen()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def gateway(tmp_path, hung_registry) -> Iterator[tuple[subprocess.Popen[str], str]]:
    ours = {"BANYAN_WORKSPACE": str(tmp_path), "BANYAN_MLFLOW_URL": hung_registry, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "components.serving.app", "--port", "0"]
    process = subprocess.Popen(argv, cwd=tmp_path, env=os.environ | ours, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"gateway on (http://127\.0\.0\.1:\d+)", line):
                yield process, found[1]
                break
        else:
            pytest.fail("it ended before it listened")
    finally:
        process.kill()
        process.communicate()


def until_it_answers(url: str) -> None:
    for _ in range(500):
        try:
            assert httpx.get(f"{url}/healthz").status_code == 200
            return
        except httpx.TransportError:
            time.sleep(0.02)
    pytest.fail("it does not answer")


def test_it_answers_at_once_says_what_is_missing_and_ends_when_told(gateway):
    process, url = gateway
    until_it_answers(url)
    response = httpx.post(f"{url}/v1/tasks/library", json={"input": "Shortest paths."})
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "no model is known: the registry has not been asked yet"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0  # though a thread still waits for the registry
