"""A real Prefect server and a real process worker, in a workspace of their own."""

import dataclasses
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from components.settings import Settings
from components.supervisor import Supervisor, claim, end_leftovers, leftovers
from flows import stack

HERE = Path(__file__).parent


class SmallStack:
    """The stack's own table, less what needs models: Prefect, a registration, the worker."""

    def __init__(self, settings):
        self.settings = settings
        self.said = []
        self.supervisor = None

    def start(self):
        lock = claim(self.settings.workspace)
        end_leftovers(self.settings.workspace)
        self.settings.workspace.prefect.mkdir(exist_ok=True)
        ports = stack.choose_ports(self.settings, self.said.append)
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        table, self.env = [], {}
        for service in stack.services(self.settings, ports=ports):
            if service.name in ("prefect", "deployments", "worker"):
                argv = (sys.executable, str(HERE / "staged.py")) if service.name == "deployments" else service.argv
                needs = tuple(name for name in service.depends_on if name != "mlflow")
                env = {**service.env, "PYTHONPATH": path}
                self.env = {**os.environ, **env}
                table.append(dataclasses.replace(service, argv=argv, env=env, depends_on=needs))
        self.supervisor = Supervisor(table, workspace=self.settings.workspace, lock=lock, on_event=self.said.append)
        self.supervisor.start()
        self.api = httpx.Client(base_url=self.supervisor.urls["prefect"] + "/api", timeout=30)
        return self

    def stop(self):
        if self.supervisor is not None:
            self.supervisor.stop()
            self.supervisor = None

    def kill_everything(self):
        """As a power cut does: the supervisor sees nothing of it and stops nothing."""
        supervisor, self.supervisor = self.supervisor, None
        supervisor._stopping.set()
        supervisor._watcher.join()
        for process in leftovers(self.settings.workspace):
            process.kill()
        psutil.wait_procs(leftovers(self.settings.workspace), timeout=5)
        supervisor._lock.release()

    def pid(self, name):
        return self.supervisor._runs[name].process.pid

    def call(self, method, path, body=None):
        answer = self.api.request(method, path, json=body)
        for _ in range(20):
            if answer.status_code != 503:  # Prefect's word for "database is locked": try again
                break
            time.sleep(0.3)
            answer = self.api.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def run(self, **parameters):
        deployment = self.call("GET", "/deployments/name/staged/cpu")["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.call("POST", f"/deployments/{deployment}/create_flow_run", body)["id"]

    def read(self, run_id):
        raw = self.call("GET", f"/flow_runs/{run_id}")
        return SimpleNamespace(
            state=raw["state"]["type"],
            state_name=raw["state"]["name"],
            **{name: raw[name] for name in ("name", "run_count", "state_id")},
        )

    def until(self, run_id, state, seconds=180):
        deadline = time.monotonic() + seconds
        while (run := self.read(run_id)).state != state:
            assert time.monotonic() < deadline, f"{run} after {seconds} s\n" + self.log("worker")
            time.sleep(0.1)
        return run

    def log(self, name):
        return (self.settings.workspace.logs / f"{name}.log").read_text()[-4000:]


@pytest.fixture(scope="session")
def make_small_stack(tmp_path_factory):
    made = []

    def make():
        folder = tmp_path_factory.mktemp("small")
        for name in [name for name in os.environ if name.startswith(("BANYAN_", "PREFECT_"))]:
            del os.environ[name]
        # Ports of its own for each process of tests: one that is let go for a moment is not another's meanwhile.
        port = 14200 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + 50 * len(made)
        made.append(SmallStack(Settings(BANYAN_WORKSPACE=folder / "workspace", prefect_port=port)))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def small_stack(make_small_stack):
    """One that tests share."""
    return make_small_stack()


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """An installation with an empty workspace, for files that a person puts into it."""
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    settings = Settings()
    settings.workspace.root.mkdir()
    return settings
