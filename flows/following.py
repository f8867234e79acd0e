"""A command that starts a run on a worker, shows it, and waits for its end."""

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.settings import Settings
    from flows.remote import Prefect, Run

LOOK_EVERY_SECONDS = 10.0
"""How often a run that has not begun is asked about: whether anybody is there who would take it."""


def run_on_worker(settings: "Settings", deployment: str, parameters: dict[str, Any], *, as_json: bool) -> "Run":
    """The run at its end; where it hands over to one in another pool, that one.

    Raises:
        BanyanError: it failed; of the class that it failed with.
    """
    from flows.display import RunDisplay
    from flows.remote import Prefect, failure

    prefect = Prefect(settings)
    waits = Waiting(prefect)
    with RunDisplay(deployment, quiet=as_json) as display:
        run_id = prefect.start(deployment, parameters)
        display.line(f"{deployment} runs on the worker: {prefect.page(run_id)}")

        def see(run: "Run") -> None:
            display.see(run)
            if told := waits.see(run):
                print(f"  {told}", file=sys.stderr, flush=True)  # with --json too: it may wait for ever

        run = prefect.follow(run_id, seen=see)
        if other := run.result.get("handed_over_to"):
            display.line(f"{run.message}: {prefect.page(other)}")
            run_id, run = other, prefect.follow(other, seen=see)
    if run.state != "COMPLETED":
        raise failure(run, prefect.page(run_id))
    return run


class Waiting:
    """Says once that a run waits because its pool has no worker, and how to start one."""

    def __init__(self, prefect: "Prefect") -> None:
        self._prefect = prefect
        self._looked_at = time.monotonic()  # the first look is after a while: a worker takes a run within seconds
        self._is_told = False

    def see(self, run: "Run") -> str:
        """What there is to say of the run as it is; empty: nothing, or it has been said."""
        if self._is_told or run.has_begun or not run.pool:
            return ""
        if run.pool == "cpu" and time.monotonic() - self._looked_at < LOOK_EVERY_SECONDS:
            return ""
        self._looked_at = time.monotonic()
        if self._prefect.is_served(run.pool):
            return ""
        self._is_told = True
        return nobody(run.pool)


def nobody(pool: str) -> str:
    """What to do where a pool has no worker."""
    how = "banyan up" if pool == "cpu" else f"banyan worker --pool {pool}"
    return f"no worker serves pool {pool}; the run waits until one does: {how}"
