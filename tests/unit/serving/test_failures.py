"""Requests that got no answer: those by the gateway's own fault are kept, by the second, once the ledger takes them."""

import asyncio
from queue import Full

from components.errors import LedgerError, NoChampion, TrainingError
from components.serving import failures
from components.serving.failures import Failures
from components.serving.problems import ClientLeft, Unprocessable, is_ours


def test_a_fault_is_the_gateways_or_that_of_whoever_asked():
    ours = (LedgerError("x", "y"), TrainingError("x", "y"), Full(), RuntimeError("x"))
    theirs = (NoChampion("x", "y"), Unprocessable("x", "y"), ClientLeft())
    assert [is_ours(err) for err in (*ours, *theirs)] == [True] * len(ours) + [False] * len(theirs)


class Kept:
    """A ledger that takes what it is given once it is there."""

    def __init__(self) -> None:
        self.is_there = False
        self.counts: dict[tuple[str, str], int] = {}
        self.num_rows = self.num_tries = 0

    def record_failures(self, counts):
        for (_, table, error), count in counts.items():
            self.counts[table, error] = self.counts.get((table, error), 0) + count
        self.num_rows += len(counts)

    async def on_ledger(self, call):
        self.num_tries += 1
        if not self.is_there:
            raise LedgerError("away", "wait")
        call(self)


def test_a_burst_of_failures_is_a_row_or_two_and_survives_a_ledger_that_is_away(monkeypatch):
    monkeypatch.setattr(failures, "KEEP_EVERY_SECONDS", 0.02)
    kept = Kept()

    async def burst():
        counted = Failures(kept.on_ledger)
        for _ in range(500):
            counted.count("library", Full())
        while kept.num_tries < 2:
            await asyncio.sleep(0.01)
        kept.is_there = True
        counted.count("emoji", LedgerError("x", "y"))
        await counted.close()
        await counted.close()

    asyncio.run(burst())
    assert kept.counts == {("library", "Full"): 500, ("emoji", "LedgerError"): 1}
    assert kept.num_rows <= 4
