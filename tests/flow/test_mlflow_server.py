"""MLflow's server as the stack starts it."""

import httpx
import pytest

from tests.mlflow_server import MlflowServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server
        server.process.terminate()
        assert server.process.wait(60) in (0, -15)


def test_one_process_serves_the_interface_and_its_pages(server):
    found = httpx.post(f"{server.url}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, trust_env=False)
    assert found.json()["experiments"][0]["name"] == "Default"
    assert "MLflow" in httpx.get(f"{server.url}/", trust_env=False).text
    assert server.process.children(recursive=True) == []


@pytest.mark.parametrize(
    "path",
    ["/", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"],
)
def test_a_foreign_host_is_refused(server, path):
    found = httpx.get(f"{server.url}{path}", headers={"Host": "rebound.example"}, trust_env=False)
    assert found.status_code == 403
