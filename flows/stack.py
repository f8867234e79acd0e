"""The local stack: which processes it is made of, and how it is started, stopped and described.

`python -m flows.stack` runs it in the foreground until SIGINT or SIGTERM.
"""

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from components.errors import BanyanError, ServiceDown, UsageError
from components.feedback.screening_file import NAME as SCREENING
from components.feedback.screening_file import screening_file, screening_policy
from components.feedback.trigger_file import NAME, trigger_file, trigger_policy
from components.settings import PREFIX, Settings, load_settings
from components.supervisor import (
    Service,
    Supervisor,
    claim,
    end_leftovers,
    free_port,
    is_running,
    leftovers,
    read_stack,
)
from flows.heartbeat import Heartbeat

LOOPBACK = "127.0.0.1"
RECIPES = Path(__file__).parent / "recipes"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

OnEvent = Callable[[str], None]


class Stack:
    """A running stack."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._ended = threading.Event()

    @property
    def urls(self) -> dict[str, str]:
        """Service → root URL: prefect, mlflow, gateway, dashboard (those that this stack runs)."""
        return self._supervisor.urls

    def stop(self) -> None:
        """Ends every process of the stack; safe to call twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        if threading.current_thread() is not threading.main_thread():
            self._supervisor.stop()
            return
        before = {which: signal.signal(which, signal.SIG_IGN) for which in ENDING}
        try:  # undisturbed: an impatient second Ctrl-C would leave processes behind
            self._supervisor.stop()
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)

    def wait(self) -> None:
        """Returns when somebody stops the stack or a signal asks for it (SIGINT, SIGTERM); the stack is down then."""
        try:
            while not self._ended.wait(0.5):
                pass
        except (KeyboardInterrupt, SystemExit):
            self.stop()

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Status:
    """What is known of a workspace's stack without asking any of its services."""

    is_running: bool
    pid: int | None
    urls: Mapping[str, str]
    services: tuple[Mapping[str, Any], ...]
    """Each with name, state, pid, url, restarts and log."""
    num_leftovers: int
    """Processes of a stack that was killed; the next start, or `down`, ends them."""


def start(settings: Settings, on_event: OnEvent = lambda _: None) -> Stack:
    """Starts the local stack and returns when every service is ready. `on_event` hears one line an event.

    From the main thread, SIGTERM and SIGHUP from now on raise SystemExit, so that they end it as Ctrl-C does.

    Raises:
        UsageError: the host is not loopback and there is no key.
        WorkspaceBusy: another stack runs on this workspace.
        RecipeError: the workspace's `retrain-when.yaml` or `screening.yaml` does not read.
        PortTaken: no free port near the wished one.
        ServiceDown: a service did not start; nothing of the stack is left running.
    """
    if not settings.is_loopback and settings.api_key is None:
        raise UsageError(
            f"the stack does not serve on {settings.host} without a key",
            f"set {PREFIX}API_KEY, or leave {PREFIX}HOST at {LOOPBACK}",
        )
    if threading.current_thread() is threading.main_thread():
        for which in ENDING[1:]:
            if signal.getsignal(which) != signal.SIG_IGN:  # as under nohup
                signal.signal(which, _exit)
    trigger_policy(settings.workspace, default=RECIPES / NAME)  # its services would die of a typo one after another
    screening_policy(settings.workspace, default=RECIPES / SCREENING)
    lock = claim(settings.workspace)
    try:
        if ended := end_leftovers(settings.workspace):
            on_event(f"ended {ended} process(es) that a killed stack had left")
        settings.workspace.mlflow.mkdir(exist_ok=True)
        settings.workspace.prefect.mkdir(exist_ok=True)
        supervisor = Supervisor(
            services(settings, ports=choose_ports(settings, on_event)),
            workspace=settings.workspace,
            lock=lock,
            on_event=on_event,
            hung_checks=settings.hung_checks,
        )
    except BaseException:
        lock.release()
        raise
    supervisor.start()
    return Stack(supervisor)


def down(settings: Settings, *, timeout_seconds: float = 60.0) -> bool:
    """Stops the workspace's stack, wherever it was started, or what a killed one left. False: there was none.

    Raises:
        ServiceDown: it was asked to stop and did not in time.
    """
    stack = read_stack(settings)
    if stack and is_running(stack):
        os.kill(stack["pid"], signal.SIGTERM)
        deadline = time.monotonic() + timeout_seconds
        while settings.workspace.stack_file.exists() and is_running(stack):
            if time.monotonic() > deadline:
                raise ServiceDown(f"process {stack['pid']} still runs the stack", "end it with: kill -9")
            time.sleep(0.1)
        return True
    if not settings.workspace.root.exists():
        return False
    with claim(settings.workspace):  # one that starts just now is not ended as a leftover
        settings.workspace.stack_file.unlink(missing_ok=True)
        return end_leftovers(settings.workspace) > 0


def describe(settings: Settings) -> Status:
    """Where the workspace's stack stands."""
    stack = read_stack(settings)
    if stack and is_running(stack):
        return Status(True, stack["pid"], stack["urls"], tuple(stack["services"]), 0)
    return Status(False, None, {}, (), len(leftovers(settings.workspace)))


# ---------------------------------------------------------------- the table


def choose_ports(settings: Settings, on_event: OnEvent) -> dict[str, int]:
    """A free port for each service that listens; one that differs from the wished one is said."""
    wished = {
        "prefect": (LOOPBACK, settings.prefect_port),
        "mlflow": (LOOPBACK, settings.mlflow_port),
        "gateway": (settings.host, settings.gateway_port),
        "dashboard": (_dashboard_host(settings), settings.dashboard_port),
    }
    ports: dict[str, int] = {}
    for name, (host, port) in wished.items():
        ports[name] = free_port(port, host=host, taken=ports.values())
        if ports[name] != port:
            from flows.health import port_holder

            holder = "another service" if port in list(ports.values())[:-1] else port_holder(port) or "another process"
            on_event(f"port {port} is taken by {holder}: {name} is on {ports[name]}")
    return ports


def services(settings: Settings, *, ports: Mapping[str, int]) -> list[Service]:
    """The table of processes. A service whose address the settings give is somebody else's and not in it.

    Only the gateway leaves loopback, which checks keys, and the dashboard where a provider says who people are: the
    others know neither (design D11).
    """
    workspace = settings.workspace
    urls = {
        "prefect": settings.prefect_url or f"http://{LOOPBACK}:{ports['prefect']}",
        "mlflow": settings.mlflow_url or f"http://{LOOPBACK}:{ports['mlflow']}",
        "gateway": settings.gateway_url or f"http://{_bracketed(settings)}:{ports['gateway']}",
        "dashboard": f"http://{LOOPBACK}:{ports['dashboard']}",
    }
    env = environment(settings, urls=urls, ports=ports)
    python = (sys.executable, "-m")
    prefect = [
        Service(
            "prefect",
            (*python, "flows.server", "server", "start", "--host", LOOPBACK, "--port", str(ports["prefect"])),
            env=env,
            url=urls["prefect"],
            health_url=f"{urls['prefect']}/api/health",
        )
    ]
    mlflow = [
        Service(
            "mlflow",
            (
                *(*python, "flows.mlflow_server", "server", "--workers", "1"),
                *("--host", LOOPBACK, "--port", str(ports["mlflow"])),
                *("--backend-store-uri", f"sqlite:///{workspace.mlflow / 'mlflow.db'}"),
                *("--serve-artifacts", "--artifacts-destination", str(workspace.mlflow / "artifacts")),
            ),
            env=env,
            url=urls["mlflow"],
            health_url=f"{urls['mlflow']}/health",
        )
    ]
    gateway = [
        Service(
            "gateway",
            (*python, "components.serving.app", "--screening", str(RECIPES / SCREENING)),
            env=env,
            url=urls["gateway"],
            health_url=f"{urls['gateway']}/healthz",
            depends_on=() if settings.mlflow_url else ("mlflow",),
        )
    ]
    orchestrated = () if settings.prefect_url else ("prefect",)
    return [
        *([] if settings.prefect_url else prefect),
        *([] if settings.mlflow_url else mlflow),
        Service("deployments", (*python, "flows.deployments"), env=env, depends_on=orchestrated, one_shot=True),
        *([] if settings.gateway_url else gateway),
        Service(
            "relay",
            (
                *(
                    *python,
                    "components.ledger.outbox",
                    "--policy",
                    str(trigger_file(workspace, default=RECIPES / NAME)),
                ),
                *("--screening", str(screening_file(workspace, default=RECIPES / SCREENING))),
            ),
            env=env,
            depends_on=orchestrated,
        ),
        Service(
            "dashboard",
            (
                *(*python, "streamlit", "run", str(_dashboard_app()), "--server.port", str(ports["dashboard"])),
                *("--server.address", _dashboard_host(settings), "--server.headless", "true"),
                *("--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"),
                *_dashboard_secrets(settings),
            ),
            env=env,
            url=urls["dashboard"],
            health_url=f"{urls['dashboard']}/_stcore/health",
        ),
        Service(
            "worker",
            (*python, "flows.worker"),
            env=env,
            depends_on=("deployments", *(() if settings.mlflow_url else ("mlflow",))),
            # At once: its runs stay Running in Prefect and go on from their checkpoints at the next start. Asked
            # politely it would mark them Crashed.
            stop_signal=signal.SIGKILL,
            is_well=Heartbeat(urls["prefect"], pool="cpu", worker="banyan").is_heard,
            leaves_children=True,  # its runs go on without it
        ),
    ]


def environment(settings: Settings, *, urls: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    """What every process of the stack is told: where the others are, and to tell nobody else anything."""
    workspace = settings.workspace
    ours = {
        f"{PREFIX}WORKSPACE": str(workspace.root),
        f"{PREFIX}PREFECT_URL": urls["prefect"],
        f"{PREFIX}MLFLOW_URL": urls["mlflow"],
        f"{PREFIX}GATEWAY_URL": urls["gateway"],
        f"{PREFIX}PREFECT_PORT": str(ports["prefect"]),
        f"{PREFIX}MLFLOW_PORT": str(ports["mlflow"]),
        f"{PREFIX}GATEWAY_PORT": str(ports["gateway"]),
        f"{PREFIX}DASHBOARD_PORT": str(ports["dashboard"]),
    }
    if settings.assets_dir is not None:
        ours[f"{PREFIX}ASSETS_DIR"] = str(workspace.assets)
    if settings.asset_files is not None:
        ours[f"{PREFIX}ASSET_FILES"] = str(settings.asset_files.expanduser().absolute())
    orchestration = {
        "PREFECT_API_URL": f"{urls['prefect'].rstrip('/')}/api",
        "PREFECT_HOME": str(workspace.prefect),
        "PREFECT_LOCAL_STORAGE_PATH": str(workspace.prefect / "results"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "components",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    tracking = {
        "MLFLOW_TRACKING_URI": urls["mlflow"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else ten processes and 1.8 GB
    }
    sharing = {
        # Threads that wait sleep instead of spinning. Where other processes want the cores too, spinning costs all:
        # with both busy two threads did 0.4-0.9 steps a second of a small transformer, and 2.1-3.9 so.
        # bits are the same.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    quiet = {
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DAFT_ANALYTICS_ENABLED": "0",
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    return {**ours, **orchestration, **tracking, **sharing, **quiet, **_without_proxy()}


def _without_proxy() -> dict[str, str]:
    """Loopback is reached directly, also where a proxy is set for the rest."""
    hosts = [
        *filter(None, os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(",")),
        LOOPBACK,
        "localhost",
    ]
    joined = ",".join(dict.fromkeys(hosts))
    return {"NO_PROXY": joined, "no_proxy": joined}


def _bracketed(settings: Settings) -> str:
    if settings.host in ("0.0.0.0", "::"):  # noqa: S104  # every address is no address to call
        return LOOPBACK
    return f"[{settings.host}]" if ":" in settings.host else settings.host


def _dashboard_host(settings: Settings) -> str:
    """Loopback, unless it asks a provider who people are."""
    return settings.host if settings.dashboard_secrets else LOOPBACK


def _dashboard_secrets(settings: Settings) -> tuple[str, ...]:
    if settings.dashboard_secrets is None:
        return ()
    return ("--secrets.files", str(settings.dashboard_secrets.expanduser().absolute()))


def _dashboard_app() -> Path:
    spec = importlib.util.find_spec("dashboard")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "app.py"


def _exit(signum: int, _: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def main() -> int:
    try:
        stack = start(load_settings(), on_event=lambda line: print(line, flush=True))
    except BanyanError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        return 130
    print(f"the stack runs: {stack.urls} (process {psutil.Process().pid})", flush=True)
    stack.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
