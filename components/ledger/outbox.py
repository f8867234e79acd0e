"""The relay: carries the ledger's outbox to Prefect, and rings when there is enough feedback to retrain.

Beside it, in threads of their own: MLflow's copy of the ledger (`mirror`), and the watch over promotions.
Run it with `python -m components.ledger.outbox`. Events are delivered at least once and in order, over
Prefect's HTTP API; each has an id of its own, so a repeated one is recognised. While Prefect is down they wait
in the ledger. The bell is no count: it says "look", and the retraining counts in the ledger itself.
"""

import argparse
import logging
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from components import prefect_key
from components.errors import BanyanError, RegistryUnavailable, ServiceDown
from components.feedback.triggers import Decision, counted, decide
from components.ledger.attempts import LOOK_AGAIN, lease_name, table_of
from components.ledger.journal import Journal
from components.ledger.schema import OutboxRow, Pending
from components.ledger.store import Ledger, as_utc
from components.recipes import ScreeningPolicy, TriggerPolicy, load_recipe, parse_recipe
from components.settings import Settings, load_settings

log = logging.getLogger("banyan.relay")

READY = "banyan.feedback.ready"
RING_AGAIN_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 60.0
HELD_SECONDS = 5.0
"""Until an event that waits for the end of a retraining is tried again."""
HOUSEKEEPING_SECONDS = 3600.0
BATCH = 100
STOP_SECONDS = 5.0


def is_due(pending: Pending, policy: TriggerPolicy, now: float) -> bool:
    """Whether there is enough feedback, and either it has stopped coming or the oldest has waited long enough.

    Rows may be of a later time than now, where somebody set the clock back: that is no reason to wait for that time.
    """
    if pending.count < policy.minimum_feedback or pending.newest_at is None or pending.oldest_at is None:
        return False
    quiet = abs(now - pending.newest_at) >= policy.quiet_seconds
    return quiet or abs(now - pending.oldest_at) >= policy.longest_wait_seconds


@dataclass
class Bell:
    """When one table was last rung for, for which feedback (by its oldest row's time), and with which answer."""

    rung_at: float = float("-inf")
    oldest_at: float | None = None
    outcome: str = ""

    def is_silent(self, pending: Pending, answer: Decision, now: float) -> bool:
        """The same answer again: a yes that came to nothing is rung for every minute, a no once, so that it is seen."""
        if (pending.oldest_at, answer.outcome) != (self.oldest_at, self.outcome):
            return False
        return not answer.starts or 0 <= now - self.rung_at < RING_AGAIN_SECONDS


@dataclass
class Relay:
    """Delivers and rings; `step` is one look at the ledger."""

    ledger: Ledger
    prefect_url: Callable[[], str]
    """Prefect's root URL now. Raises ServiceDown while nobody knows it."""
    policy: TriggerPolicy
    client: httpx.Client
    now: Callable[[], float] = time.time
    bells: dict[str, Bell] = field(default_factory=dict)
    num_failures: int = 0
    quiet_until: float = 0.0

    def step(self) -> None:
        """Deliver what is due and ring where there is enough; an unreachable Prefect only makes it wait longer.

        Raises:
            LedgerError: the ledger did not answer.
        """
        if 0 < self.quiet_until - self.now() <= LONGEST_PAUSE_SECONDS:  # more: the clock was set back
            return
        try:
            while rows := self.ledger.undelivered(limit=BATCH):
                self._deliver(rows)
            for table in self.ledger.tables():
                self._ring(table)
        except (httpx.HTTPError, ServiceDown) as err:
            self.num_failures += 1
            pause = min(2.0**self.num_failures, LONGEST_PAUSE_SECONDS)
            self.quiet_until = self.now() + pause
            log.warning("Prefect does not take events (%s); next try in %.0f s", err, pause)
        else:
            self.num_failures = 0

    def _deliver(self, rows: Sequence[OutboxRow]) -> None:
        held = [row for row in rows if row.event == LOOK_AGAIN and self._is_at_work(row)]
        if held:
            self.ledger.mark_failed(held, error="a retraining is at work", retry_in_seconds=HELD_SECONDS)
        rows = [row for row in rows if row not in held]
        if not rows:
            return
        if self._post([_as_event(row) for row in rows]):
            self.ledger.mark_delivered(rows)
            return
        for row in rows:  # one that Prefect refuses must not hold up the others
            if self._post([_as_event(row)]):
                self.ledger.mark_delivered([row])
            else:
                log.error("Prefect refuses event %s (%s)", row.event_id, row.event)
                self.ledger.mark_failed([row], error="refused", retry_in_seconds=60.0 * 2 ** min(row.num_attempts, 10))

    def _is_at_work(self, row: OutboxRow) -> bool:
        return self.ledger.is_leased(lease_name(table_of(row.resource)))

    def _ring(self, table: str) -> None:
        pending, now = self.ledger.pending(table), self.now()
        bell = self.bells.setdefault(table, Bell())
        if not is_due(pending, self.policy, now) or self.ledger.is_leased(lease_name(table)):
            return
        # By what the ledger counts alone. Other causes have bells of their own, and the retraining looks at everything.
        answer = decide(self.policy, counted(table, self.policy, ledger=self.ledger, pending=pending))
        if bell.is_silent(pending, answer, now):
            return
        event = {
            "id": str(uuid.uuid4()),
            "occurred": as_utc(now).isoformat(),
            "event": READY,
            "resource": {"prefect.resource.id": f"banyan.table.{table}", "banyan.table": table},
            "payload": {"unconsumed": pending.count, "cut": pending.cut, "answer": answer.reason},
        }
        if self._post([event]):
            self.bells[table] = Bell(now, pending.oldest_at, answer.outcome)
            log.info("rang for %s: %s", table, answer.reason)

    def _post(self, events: Sequence[Mapping[str, Any]]) -> bool:
        """False when Prefect refuses the content (4xx); raises httpx.HTTPError when it does not answer."""
        answer = self.client.post(f"{self.prefect_url().rstrip('/')}/api/events", json=list(events))
        if answer.status_code in {401, 403, 404, 408, 429} or answer.status_code >= 500:
            answer.raise_for_status()  # not about these events: wait, and try all of them again
        return answer.is_success


def _as_event(row: OutboxRow) -> dict[str, Any]:
    return {
        "id": row.event_id,
        "occurred": as_utc(row.at).isoformat(),
        "event": row.event,
        "resource": dict(row.resource),
        "payload": dict(row.payload),
    }


def run(
    settings: Settings,
    policy: TriggerPolicy,
    *,
    stop: threading.Event,
    poll_seconds: float = 1.0,
    screening: ScreeningPolicy | None = None,
) -> None:
    """Relay until `stop` is set; also ends raw prompts' retention, and repairs alias moves that a crash left open.

    Args:
        screening: which feedback the watch counts; default: `ScreeningPolicy()`.

    Raises:
        LedgerError: the ledger cannot be opened.
    """
    from components.supervisor import addresses

    with Ledger(settings) as ledger, httpx.Client(timeout=10.0, headers=prefect_key.headers()) as client:
        relay = Relay(ledger, lambda: addresses(settings).prefect, policy, client)
        must_repair, tidy_at, repair_at = True, 0.0, 0.0
        beside = _beside(settings, ledger, policy, screening or ScreeningPolicy(), stop=stop)
        while not stop.is_set():
            try:
                relay.step()
                if must_repair and time.monotonic() >= repair_at:
                    repair_at = time.monotonic() + 5.0
                    must_repair = not _repaired(settings, ledger)
                if time.monotonic() >= tidy_at:
                    tidy_at = time.monotonic() + HOUSEKEEPING_SECONDS
                    log.info("%d raw prompts were past their retention", ledger.purge_raw_prompts())
                    ledger.prune_outbox()
            except BanyanError as err:  # a full disk passes, too
                log.error("%s", err)
            stop.wait(poll_seconds)
        for thread in beside:
            thread.join(STOP_SECONDS)


def _beside(
    settings: Settings, ledger: Ledger, policy: TriggerPolicy, screening: ScreeningPolicy, *, stop: threading.Event
) -> list[threading.Thread]:
    """The mirror and the watch, each at its own pace: neither holds up an event."""
    from components.feedback.watch import Watch
    from components.ledger.mirror import Mirror
    from components.registry import Registry
    from components.supervisor import addresses

    client = httpx.Client(timeout=30.0, trust_env=False)
    mirror = Mirror(ledger, lambda: addresses(settings).mlflow, client)
    watch = Watch(ledger, lambda: Registry(addresses(settings).mlflow), settings, policy.watch, screening)

    def repeat(call: Callable[[], object], seconds: float) -> None:
        while not stop.wait(seconds):
            try:
                call()
            except BanyanError as err:  # a full disk, or MLflow, comes back
                log.warning("%s", err)
            except Exception:  # blanket: one bad row must not end the lane for good
                log.exception("a look failed; the next one follows")

    threads = [
        threading.Thread(target=repeat, args=(mirror.step, 1.0), name="mirror", daemon=True),
        threading.Thread(target=repeat, args=(watch.look, policy.watch.look_seconds), name="watch", daemon=True),
    ]
    for thread in threads:
        thread.start()
    return threads


def _repaired(settings: Settings, ledger: Ledger) -> bool:
    """Whether the journal needs no more looking after; False while MLflow does not answer."""
    from components.registry import Registry
    from components.supervisor import addresses

    try:
        for entry in Journal(ledger, settings.workspace).repair(Registry(addresses(settings).mlflow)):
            log.warning("an open move of %s to v%d: %s", entry.name, entry.to_version, entry.note)
    except (RegistryUnavailable, ServiceDown):
        return False
    except BanyanError as err:
        log.error("%s", err)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """The relay as a process; ends at SIGTERM or SIGINT after the batch it is at."""
    parser = argparse.ArgumentParser(prog="python -m components.ledger.outbox", description=__doc__.split("\n")[0])
    parser.add_argument("--policy", type=Path, help="a trigger recipe; default: the built-in values")
    parser.add_argument("--screening", type=Path, help="a screening recipe; default: the built-in values")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line a request
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        policy = load_recipe(options.policy) if options.policy else parse_recipe({"kind": "trigger"})
        screening = load_recipe(options.screening) if options.screening else None
        run(load_settings(), policy, stop=stop, screening=screening)
    except BanyanError as err:
        print(f"error: {err}", file=sys.stderr)
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
