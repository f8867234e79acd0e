"""MLflow's server as the stack starts it."""

import os
import socket
import sys
import time

import httpx
import psutil
import pytest


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "flows.mlflow_server", "server", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "1"}
    with (folder / "log").open("w") as log:
        process = psutil.Popen(argv, env=env, stdout=log, stderr=log)
    give_up = time.monotonic() + 150
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                break
        except httpx.HTTPError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < give_up
            time.sleep(0.1)
    yield process, f"http://127.0.0.1:{port}"
    process.terminate()
    assert process.wait(60) in (0, -15)


def test_one_process_serves_the_interface_and_its_pages(server):
    process, url = server
    found = httpx.post(f"{url}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, trust_env=False)
    assert found.json()["experiments"][0]["name"] == "Default"
    assert "MLflow" in httpx.get(f"{url}/", trust_env=False).text
    assert process.children(recursive=True) == []


@pytest.mark.parametrize(
    "path",
    ["/", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"],
)
def test_a_foreign_host_is_refused(server, path):
    _, url = server
    found = httpx.get(f"{url}{path}", headers={"Host": "rebound.example"}, trust_env=False)
    assert found.status_code == 403
