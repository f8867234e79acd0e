"""`banyan worker`: takes runs of a pool on this machine; it needs the services' addresses, and the package."""

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import read_settings

if TYPE_CHECKING:
    from components.settings import Settings

app = typer.Typer()

NEEDED = ("prefect_url", "mlflow_url", "ledger_url", "data_remote")


@app.command()
def worker(
    pool: Annotated[str, typer.Option("--pool", help="The work pool whose runs this machine takes.")] = "gpu",
) -> None:
    """Take the runs of a pool on this machine, until Ctrl-C.

    Where the services run elsewhere, set BANYAN_PREFECT_URL, BANYAN_MLFLOW_URL, BANYAN_LEDGER_URL and
    BANYAN_DATA_REMOTE (and PREFECT_API_AUTH_STRING for a server that asks for one). Data and base weights come by
    their hashes.
    """
    settings = read_settings()
    env = environment(settings, pool=pool)
    settings.workspace.locks.mkdir(parents=True, exist_ok=True)
    if head := join_journal(settings):
        print(f"this machine keeps the journal's head from now on: {head[:12]}", flush=True)
    print(f"taking runs of pool {pool} from {env['BANYAN_PREFECT_URL']}; stop with Ctrl-C", flush=True)
    os.chdir(settings.workspace.root)
    os.execve(sys.executable, [sys.executable, "-m", "flows.worker", pool], {**os.environ, **env})  # noqa: S606


def join_journal(settings: "Settings") -> str:
    """The head that a machine begins with, which is new to a shared ledger; empty where it has one, or needs none.

    Its runs promote, and a move without a head to compare with is refused. It leaves a row among the actions.
    """
    from components.ledger.actions import at_this_machine, perform
    from components.ledger.journal import Journal
    from components.ledger.store import Ledger

    if settings.ledger_url is None:
        return ""
    with Ledger(settings) as ledger:
        journal = Journal(ledger, settings.workspace)
        if journal.head_file.exists():
            return ""
        why = f"{platform.node()} joins as a worker"
        return perform("accept-journal", subject=why, actor=at_this_machine(), ledger=ledger, do=journal.join)


def environment(settings: "Settings", *, pool: str) -> dict[str, str]:
    """What the worker and its runs are told; where an address is not set, that of the stack on this workspace.

    Raises:
        UsageError: an address is neither set nor known, or the pool is the stack's own.
    """
    from components.errors import ServiceDown, UsageError
    from components.supervisor import addresses
    from flows.deployments import HEARTBEAT_SECONDS
    from flows.stack import environment as of_a_stack

    if pool == "cpu":
        raise UsageError("pool cpu is that of the stack's own machine", "banyan up starts its worker")
    given = {name: getattr(settings, name) for name in NEEDED}
    try:
        known = addresses(settings)
        urls = {"prefect": known.prefect, "mlflow": known.mlflow, "gateway": settings.gateway_url or ""}
    except ServiceDown as err:
        remedy = "set BANYAN_PREFECT_URL and BANYAN_MLFLOW_URL"
        raise UsageError(f"where to take runs from is not known: {err}", remedy) from err
    if settings.prefect_url and (missing := [f"BANYAN_{name.upper()}" for name, value in given.items() if not value]):
        raise UsageError(f"not set: {', '.join(missing)}", "a worker elsewhere writes to the services' own stores")
    ports = {name: getattr(settings, f"{name}_port") for name in ("prefect", "mlflow", "gateway", "dashboard")}
    env = of_a_stack(settings, urls=urls, ports=ports)
    for name in ("BANYAN_PREFECT_PORT", "BANYAN_MLFLOW_PORT", "BANYAN_GATEWAY_PORT", "BANYAN_DASHBOARD_PORT"):
        del env[name]
    if not urls["gateway"]:
        del env["BANYAN_GATEWAY_URL"]
    return env | {
        # Nobody can look whether a process on another machine lives: its heartbeat tells.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        # The pool's template says `python`: this one.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
