"""The whole loop as a user runs it, on the text of the running interpreter; its worker is killed half-way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from components.feedback.rater import NAME as RATER
from components.ledger.store import Ledger
from components.settings import Settings
from components.supervisor import leftovers, read_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parents[2]
KILLED_AT = "train library"


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return Settings(BANYAN_WORKSPACE=tmp_path_factory.mktemp("e2e") / "workspace")


def kill_worker_and_its_runs(settings: Settings) -> int:
    worker = next(service["pid"] for service in read_stack(settings)["services"] if service["name"] == "worker")
    processes = [*psutil.Process(worker).children(recursive=True), psutil.Process(worker)]
    for process in processes:
        process.kill()
    return len(processes)


@pytest.fixture(scope="module")
def said(settings) -> str:
    """What `banyan demo --offline` printed; it has ended with exit code 0."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BANYAN_", "PREFECT_"))}
    env["BANYAN_WORKSPACE"] = str(settings.workspace.root)
    env["BANYAN_ASSETS_DIR"] = str(ROOT / ".banyan" / "assets")  # the weights are fetched once a checkout
    command = [sys.executable, "-m", "flows.cli", "demo", "--offline", "--stop"]
    command += ["--json-file", str(settings.workspace.root / "demo.json")]
    lines, num_killed = [], 0
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            lines.append(line)
            if KILLED_AT in line and not num_killed:
                num_killed = kill_worker_and_its_runs(settings)
    assert demo.returncode == 0, "".join(lines[-40:])
    assert num_killed >= 3, "the worker, the loop and the training were to be killed"
    return "".join(lines)


@pytest.fixture(scope="module")
def figures(said, settings) -> dict:
    return json.loads((settings.workspace.root / "demo.json").read_text())


def test_the_loop_closes_although_its_worker_was_killed(said, settings):
    assert "The loop closed" in said
    assert (settings.workspace.root / "report.html").stat().st_size > 20_000
    assert leftovers(settings.workspace) == []


def test_the_figures_are_those_of_a_whole_turn(figures):
    assert figures["champion_before"]["version"] == 1
    assert figures["champion_before"]["accuracy"] > figures["baseline"]["accuracy"] > 0.2  # five labels
    assert figures["control"]["accuracy"] > 0.2
    low, high = figures["difference_interval"]
    assert low < high
    promoted = figures["champion_after"]["version"] != 1
    assert (figures["verdict"] == "promote") == promoted
    assert low > 0 or not promoted


def test_every_row_of_feedback_has_its_fate(figures, settings):
    fates = figures["feedback"]["fates"]
    assert sum(fates.values()) == figures["feedback"]["received"] >= 100
    assert fates["received"] == fates["admitted"] == fates["trained"] == 0, "a row was left on its way"
    with Ledger(settings) as ledger:
        rows = ledger.feedback("library", limit=1000)
        assert {row.subject for row in rows} == {ledger.pseudonym(RATER)}
    assert len(rows) == figures["feedback"]["received"]
