"""Claims on feedback whose holder is over: a run that was cancelled before it began has no process to give one back."""

from typing import TYPE_CHECKING
from uuid import UUID

from components.ledger.outbox import lease_name
from components.ledger.store import Ledger
from components.settings import Settings
from flows.deployments import MAX_ATTEMPTS

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def give_back(client: "SyncPrefectClient", *, settings: Settings) -> list[str]:
    """Releases the claims of runs that are over, or that Prefect does not know; the tables' names.

    Whoever cancelled it, and wherever: on the dashboard, in Prefect, or by deleting the run.

    Raises:
        LedgerError: the ledger did not answer.
    """
    if settings.ledger_url is None and not settings.workspace.ledger.exists():
        return []  # asking would make an empty one
    found = []
    with Ledger(settings) as ledger:
        for name, holder in ledger.leases(lease_name("")):
            if _is_over(client, holder):
                ledger.release(name, holder=holder)
                found.append(name.removeprefix(lease_name("")))
    return found


def _is_over(client: "SyncPrefectClient", holder: str) -> bool:
    from prefect.exceptions import ObjectNotFound

    try:
        run = client.read_flow_run(UUID(holder))
    except ObjectNotFound:
        return True
    except ValueError:  # no run of Prefect's holds it
        return False
    if run.state is None or not run.state.is_final():
        return False
    return not run.state.is_crashed() or run.run_count >= MAX_ATTEMPTS  # a crashed one is taken up again
