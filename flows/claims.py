"""Claims on feedback: those whose holder is over are given back, the others renewed.

A run that was cancelled before it began has no process to give its claim back; one that trains for hours, or waits for
a worker of the pool gpu, has none that would renew it.
"""

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from components.ledger.attempts import LEASE_SECONDS, Lost, lease_name
from components.ledger.store import Ledger
from components.settings import Settings
from flows.deployments import MAX_ATTEMPTS

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def look_after(client: "SyncPrefectClient", *, settings: Settings) -> list[str]:
    """Releases the claims of runs that are over, or that Prefect does not know; the tables' names. Renews the others.

    Whoever cancelled it, and wherever: on the dashboard, in Prefect, or by deleting the run. A claim that lapsed while
    the machine was off is its run's again, unless another has begun meanwhile.

    Raises:
        LedgerError: the ledger did not answer.
    """
    if settings.ledger_url is None and not settings.workspace.ledger.exists():
        return []  # asking would make an empty one
    found = []
    with Ledger(settings) as ledger:
        for name, holder in ledger.leases(lease_name("")):
            table, end = name.removeprefix(lease_name("")), _end_of(client, holder)
            if end == "at work":
                ledger.renew(name, holder=holder, seconds=LEASE_SECONDS)
            elif end != "unknown":
                ledger.give_up(table, run_id=holder, outcome=end)
                found.append(table)
    return found


def _end_of(client: "SyncPrefectClient", holder: str) -> Lost | Literal["over", "at work", "unknown"]:
    from prefect.client.schemas.objects import StateType
    from prefect.exceptions import ObjectNotFound

    try:
        run = client.read_flow_run(UUID(holder))
    except ObjectNotFound:
        return "cancelled"
    except ValueError:  # no run of Prefect's holds it
        return "unknown"
    if run.state is None or not run.state.is_final():
        return "at work"
    if run.state.is_crashed() and run.run_count < MAX_ATTEMPTS:
        return "at work"  # it is taken up again
    lost: dict[StateType, Lost] = {
        StateType.FAILED: "failed",
        StateType.CANCELLED: "cancelled",
        StateType.CRASHED: "crashed",
    }
    return lost.get(run.state.type, "over")
