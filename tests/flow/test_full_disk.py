"""A step on a full disk: told in one word, and tried again; what failed for another reason is left as it is."""

import errno
import sqlite3
from types import SimpleNamespace

import pytest

from components.errors import DiskFull, LedgerError, Transient, UsageError
from flows import full_disk, policies, steps
from flows.full_disk import told_when_full
from flows.remote import Run, failure


def ledger_on_a_full_disk():
    try:
        raise sqlite3.OperationalError("database or disk is full")
    except sqlite3.Error as err:
        raise LedgerError("the ledger could not be written") from err


def plain():
    raise OSError(errno.ENOSPC, "No space left on device", "test.parquet")


@pytest.mark.parametrize("what", [ledger_on_a_full_disk, plain])
def test_whatever_a_full_disk_made_of_it_is_said_with_what_to_do_and_tried_again(what):
    with pytest.raises(DiskFull, match=r"the disk of .* is full .*free some space and start it again") as said:
        told_when_full(what)()
    assert isinstance(said.value, Transient) and said.value.__cause__ is not None
    run = Run("id", "retrain", "FAILED", f"Flow run encountered an exception: DiskFull: {said.value}", 1.0)
    assert isinstance(failure(run, "page"), DiskFull)


def test_a_servers_error_while_there_is_no_room_is_one_of_the_disk(monkeypatch):
    def server():
        raise RuntimeError("500 Internal Server Error")

    monkeypatch.setattr(full_disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DiskFull, match="500 Internal"):
        told_when_full(server)()


def test_another_error_stays_what_it_is_and_a_result_too(tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))

    def mistaken():
        raise UsageError("no such table")

    with pytest.raises(UsageError, match="no such table"):
        told_when_full(mistaken)()
    assert told_when_full(lambda: 3)() == 3


def test_every_step_of_the_loop_tells_it_so():
    for step in (steps.ingest, steps.train, steps.collect, steps.register, steps.promote, steps.tell, steps.consume):
        assert step.fn.__code__ is told_when_full(lambda: None).__code__, step.name
    assert steps.train.retry_condition_fn is policies.only_transient
