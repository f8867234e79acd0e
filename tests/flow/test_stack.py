"""The stack's table of processes, and the whole of it started and stopped for real."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from pydantic import SecretStr

from components.errors import UsageError
from components.settings import Settings
from components.supervisor import leftovers, read_stack
from flows import stack

PORTS = {"prefect": 4200, "mlflow": 5000, "gateway": 8000, "dashboard": 8501}

# In the background of a script Ctrl-C is ignored, by what it starts as well.
CTRL_C = signal.SIGTERM if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else signal.SIGINT


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("BANYAN_")]:
        monkeypatch.delenv(name)
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")


def table(settings):
    return {service.name: service for service in stack.services(settings, ports=PORTS)}


def test_the_table_has_every_service_and_no_dependency_on_one_that_is_not_there(settings):
    services = table(settings)
    assert set(services) == {"prefect", "mlflow", "deployments", "gateway", "relay", "dashboard", "worker"}
    assert all(needed in services for service in services.values() for needed in service.depends_on)


def test_a_service_that_the_settings_place_elsewhere_is_not_started_here(settings):
    elsewhere = settings.model_copy(update={"prefect_url": "http://a:4200", "mlflow_url": "http://b:5000"})
    services = table(elsewhere)
    assert not {"prefect", "mlflow"} & set(services)
    assert all(needed in services for service in services.values() for needed in service.depends_on)
    assert services["worker"].env["PREFECT_API_URL"] == "http://a:4200/api"
    assert services["gateway"].env["BANYAN_MLFLOW_URL"] == "http://b:5000"


def test_only_the_gateway_leaves_loopback(settings):
    opened = settings.model_copy(update={"host": "0.0.0.0", "api_key": SecretStr("k")})
    words = {name: " ".join(service.argv) for name, service in table(opened).items()}
    assert not [name for name, argv in words.items() if "0.0.0.0" in argv]
    assert all("127.0.0.1" in words[name] for name in ("prefect", "mlflow", "dashboard"))


def test_off_loopback_without_a_key_nothing_is_started(settings):
    with pytest.raises(UsageError, match=r"0\.0\.0\.0"):
        stack.start(settings.model_copy(update={"host": "0.0.0.0"}))
    assert not settings.workspace.root.exists()


def test_loopback_is_reached_without_the_proxy_that_the_environment_names(settings, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    hosts = table(settings)["worker"].env["NO_PROXY"].split(",")
    assert {"intranet.example", "127.0.0.1", "localhost"} <= set(hosts)


def test_nothing_that_the_stack_starts_tells_others_of_its_use(settings):
    env = table(settings)["worker"].env
    assert (env["PREFECT_SERVER_ANALYTICS_ENABLED"], env["DO_NOT_TRACK"], env["GX_ANALYTICS_ENABLED"]) == (
        "false",
        "1",
        "false",
    )
    assert (env["MLFLOW_DISABLE_TELEMETRY"], env["HF_HUB_OFFLINE"]) == ("true", "1")


def test_without_a_stack_there_is_nothing_to_stop_and_nothing_is_made(settings):
    assert stack.down(settings) is False
    assert not settings.workspace.root.exists()
    assert stack.describe(settings).is_running is False


@pytest.mark.slow
def test_the_whole_stack_starts_beside_a_taken_port_refuses_a_second_and_stops_at_once(settings):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BANYAN_", "PREFECT_"))}
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        env |= {"BANYAN_WORKSPACE": str(settings.workspace.root), "BANYAN_MLFLOW_PORT": str(taken)}
        argv = [sys.executable, "-m", "flows.stack"]
        first = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            lines = []
            while not (lines and lines[-1].startswith("the stack runs")):
                line = first.stdout.readline()
                assert line, "".join(lines)
                lines.append(line)
            assert any(str(taken) in line and "mlflow" in line for line in lines), "a taken port must be told"
            for name, path in {"prefect": "/api/health", "mlflow": "/health", "gateway": "/healthz"}.items():
                assert httpx.get(read_stack(settings)["urls"][name] + path).status_code == 200
            assert stack.describe(settings).is_running

            second = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
            assert second.returncode == 1
            assert second.stderr.startswith("error: process ") and str(first.pid) in second.stderr
            assert "Traceback" not in second.stderr
        finally:
            begun = time.monotonic()
            first.send_signal(CTRL_C)
            assert first.wait(120) == 0
    assert time.monotonic() - begun < 90
    assert leftovers(settings.workspace) == []
    assert not settings.workspace.stack_file.exists()
