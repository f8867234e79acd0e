"""The campaign's own parts: faults are those of the seed, end when they should, and what is lost is seen."""

import os
import random
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from components.ledger.store import Ledger
from components.settings import Settings
from tests.fault import inflicted, survived
from tests.fault.inflicted import MOST_LOSSES, Clock, Fault, Inflictor, draw
from tests.fault.ledger_writer import MODEL


def test_a_seed_draws_the_same_faults_and_no_round_loses_a_run_too_often():
    def rounds(seed):
        draws = random.Random(seed)
        return [draw(draws, num_faults=6, within=30.0, has_clock=True) for _ in range(200)]

    assert rounds(1) == rounds(1) != rounds(2)
    assert max(sum(fault.loses_runs for fault in one) for one in rounds(1)) == MOST_LOSSES
    assert {fault.kind for one in rounds(1) for fault in one} == {"kill", "freeze", "cut", "disk", "clock", "power"}
    assert all(0 <= fault.at <= 30 for one in rounds(1) for fault in one)
    without = draw(random.Random(1), num_faults=200, within=30.0, has_clock=False)
    assert "clock" not in {fault.kind for fault in without}


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
