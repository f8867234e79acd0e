"""The campaign's own parts: faults are those of the seed, end when they should, and what is lost is seen."""

import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from components.ledger.store import Ledger
from components.settings import Settings
from tests.fault import inflicted, survived
from tests.fault.inflicted import MOST_LOSSES, Bag, Clock, Fault, Inflictor, every
from tests.fault.ledger_writer import MODEL


def test_a_seed_draws_the_same_faults_and_no_round_loses_a_run_too_often():
    def rounds(seed):
        bag = Bag(random.Random(seed), has_clock=True)
        return [bag.take(6, within=30.0) for _ in range(200)]

    assert rounds(1) == rounds(1) != rounds(2)
    assert max(sum(fault.loses_runs for fault in one) for one in rounds(1)) == MOST_LOSSES
    assert all(0 <= fault.at <= 30 for one in rounds(1) for fault in one)
    without = Bag(random.Random(1), has_clock=False).take(100, within=30.0)
    assert "clock" not in {fault.kind for fault in without}


@pytest.mark.parametrize("seed", range(5))
def test_who_draws_for_long_enough_meets_each_kind_of_fault(seed):
    bag = Bag(random.Random(seed), has_clock=True)
    all_of_them = Counter(fault.name for fault in every(random.Random(seed), has_clock=True))
    met = [fault for _ in range(4) for fault in bag.take(6, within=30.0)]
    assert len({fault.name for fault in met}) >= 0.75 * len(all_of_them)
    assert met.count(met[0]) == 1
    assert Counter(one.name for one in met) + Counter(one.name for one in bag.left) >= all_of_them
    while {fault.name for fault in met} < set(all_of_them):
        assert len(met) < 2 * all_of_them.total(), "a kind is put off for ever"
        met += bag.take(6, within=30.0)


def test_a_fault_that_met_nothing_comes_again_at_another_moment():
    bag = Bag(random.Random(3), has_clock=True)
    drawn = bag.take(6, within=30.0)
    bag.give_back(drawn[:2])
    again = bag.take(2, within=1000.0)
    assert {one.name for one in again} == {one.name for one in drawn[:2]} and {one.at for one in again}.isdisjoint(
        {one.at for one in drawn}
    )


@pytest.mark.skipif(shutil.which("cc") is None, reason="the clock's shim is compiled where it is used")
def test_the_clock_jumps_and_what_counts_seconds_does_not(tmp_path):
    clock = Clock(tmp_path)
    tells = "import time\nfor _ in iter(input, 'end'): print(time.time(), time.monotonic(), flush=True)"
    command = [sys.executable, "-Sc", tells]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | clock.env, **pipes) as process:

        def now():
            process.stdin.write("now\n")
            process.stdin.flush()
            return [float(part) for part in process.stdout.readline().split()]

        before = now()
        for seconds, offset in ((3600.0, 3600.0), (-7200.25, -3600.25)):
            clock.jump(seconds)
            day, counted = now()
            assert day - before[0] == pytest.approx(offset + counted - before[1], abs=0.1)
        process.communicate("end\n")


def test_a_fault_ends_while_a_person_still_waits_for_the_stack(tmp_path, monkeypatch):
    """The stack cannot come up before the network is back."""
    network = threading.Event()
    network.set()
    monkeypatch.setattr(inflicted, "_loopback", lambda *, up: network.set() if up else network.clear())
    monkeypatch.setattr(inflicted, "leftovers", lambda _: [])

    def start():
        assert network.wait(20), "the cut was held by who waits for its end"
        installation.process = SimpleNamespace(poll=lambda: None, pid=os.getpid())

    installation = SimpleNamespace(
        process=None, start=start, settings=Settings(BANYAN_WORKSPACE=tmp_path), flow_runs=list, service=lambda _: None
    )
    faults = [Fault("cut", "the network", 0.0, 2.0), Fault("power", "everything", 0.1), Fault("kill", "run", 0.2)]
    inflictor = Inflictor(installation, faults, clock=SimpleNamespace())
    inflictor.start()
    threading.Timer(0.5, inflictor.is_over.set).start()
    inflictor.join(30)
    assert inflictor.error is None and network.is_set() and installation.process is not None
    assert inflictor.done == faults[:2], "a kill that met no process is no fault"


def test_a_row_that_is_not_there_and_one_left_on_its_way_are_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    settings = Settings()
    with Ledger(settings) as ledger:
        about = {"model": MODEL, "template_sha256": "", "generation": {}, "text": "a text", "output": "ahead"}
        ledger.record_answer("request", table="small", **about)
        ledger.record_feedback("there", request_id="request", kind="approve")
        ledger.consume("small", ledger.cut(), outcome="promote")
    assert survived.lost_rows(settings, "small", ["there", "gone"]) == ["gone"]
    assert survived.left_on_their_way(settings, "small") == ["feedback there is received"]
