"""A small loop under random faults: how many it survives, what it loses, whether its weights are those of an
undisturbed one.

Round after round: people's feedback comes in, a retraining begins (by hand with a gate that promotes, or by the bell),
or new data is ingested and a model pretrained on it; and meanwhile processes are killed with -9, frozen, cut off the
network, put before a full disk and under a clock that jumps, at moments that the seed draws. A fault is survived when
after its round the loop has ended right, without a hand but the one that starts a killed stack again; a run that failed
in words of ours is run again as it says, and counted as `told`. `tests/fault/survived.py` has the checks.

    FAULTS=24 SEED=1 make bench NAME=faults

The seed draws faults and moments, the faults from a bag that holds each kind: nearly all are met by 24. What a moment
meets depends on the machine; a fault that met nothing is in the next round again. After `LIMIT_SECONDS` it stops after
the round that it is at. What Ray does when a node of it is killed has tests of its own: `test_*_node_killed.py`.
"""

import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.data import versioning
from components.ledger.schema import Cut
from components.ledger.store import Ledger
from components.settings import Settings
from flows.remote import failure
from tests.fault import survived
from tests.fault.inflicted import Bag, Clock, Fault, Inflictor, disk, fence_off
from tests.fault.small_loop import (
    BELL_ROWS,
    EAGER,
    LETTERS,
    MODEL_OF_LETTERS,
    PATIENCE_SECONDS,
    RECIPE,
    TABLE,
    Installation,
    own_letters,
)

NUM_FAULTS = int(os.environ.get("FAULTS", "20"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LIMIT_SECONDS = float(os.environ.get("LIMIT_SECONDS", "3600"))
KEEP = os.environ.get("KEEP", "")
"""A folder to which the workspace's logs are copied when a round fails."""
PACKAGES = ("torch", "prefect", "mlflow", "dvc", "great-expectations")
DISK_MEGABYTES = 900
FAULTS_A_ROUND = int(os.environ.get("FAULTS_A_ROUND", "8"))
ROUNDS = ("by hand", "new data", "by hand", "by the bell")
"""As often as they stand here, in an order that the seed draws."""
WITHIN = 2.0
"""A round's faults fall within so many durations of the first training's run."""
LONGEST_ROUND_SECONDS = 300.0
"""As long as faults of the round are still to come, there is one more retraining, up to here."""
SETTLE_SECONDS = 120.0


@dataclass
class Round:
    """What was done in one round, and what came of it."""

    kind: str
    faults: list[Fault]
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)
    """What the platform said a person must do; it was done."""
    problems: list[str] = field(default_factory=list)
    lost: int = 0
    cuts: list[Cut] = field(default_factory=list)
    """That retrainings of this round have closed."""
    num_pretrained: int = 0
    """Whose data and weights were compared."""
    inflicted: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    """Cuts with other data or weights than undisturbed."""


class Campaign:
    """An installation, its undisturbed twin, and the rounds."""

    def __init__(self, folder: Path) -> None:
        self.draws = random.Random(SEED)
        self.folder = folder
        disk(folder / "disk", megabytes=DISK_MEGABYTES)
        self.clock = Clock(folder)
        self.installation = Installation(folder / "disk" / "workspace", seed=SEED, env=self.clock.env)
        self.settings = self.installation.settings
        twin = Settings(BANYAN_WORKSPACE=folder / "twin")
        versioning.ingest(self.installation.ingest, settings=twin)
        self.twin = survived.Twin(twin, RECIPE, MODEL_OF_LETTERS)
        self.verified: set[str] = set()
        self.bag = Bag(self.draws, has_clock=self.clock.is_there)
        self.kinds: list[str] = []
        self.num_rounds = 0

    def round(self, num_faults: int) -> Round:
        """Feedback and a retraining, or new data and a model of it, faults all the while; then every check."""
        if not self.kinds:
            self.kinds = self.draws.sample(ROUNDS, len(ROUNDS))
        kind, self.num_rounds = self.kinds.pop(), self.num_rounds + 1
        within = WITHIN * self.installation.seconds_of_first_training
        drawn = self.bag.take(num_faults, within=within)
        done = Round(kind, drawn)
        letters = self.folder / f"{LETTERS}-{self.num_rounds}.csv"
        letters_of = own_letters(letters, seed=SEED + self.num_rounds)
        begun, num_before = time.monotonic(), len(self._cuts())
        inflictor = Inflictor(self.installation, done.faults, clock=self.clock)
        stop = threading.Event()
        more = threading.Thread(target=self._more, args=(stop, done), daemon=True)
        inflictor.start()
        try:
            if kind == "new data":
                more.start()
                made = self._asked_for("ingest/cpu", done, recipe=letters_of.model_dump(mode="json"))
                model = self._asked_for("pretrain/cpu", done, recipe=MODEL_OF_LETTERS.model_dump(mode="json"))
            else:
                self.installation.writer.write(BELL_ROWS if kind == "by the bell" else 30)
                wanted = self._newest()
                if kind == "by hand":
                    more.start()  # the bell waits for quiet
                    self._asked_for("retrain/cpu", done, table=TABLE, policy=EAGER.model_dump(mode="json"))
                self._until(lambda: self._is_consumed(wanted), done, what="the feedback was not learnt from")
            while inflictor.has_more and not done.problems and time.monotonic() - begun < LONGEST_ROUND_SECONDS:
                self.installation.writer.write(5)
                self._asked_for("retrain/cpu", done, table=TABLE, policy=EAGER.model_dump(mode="json"))
        except (AssertionError, Exception) as err:  # a round that fails is told, and ends the campaign
            done.problems.append(f"{type(err).__name__}: {err}")
            traceback.print_exc(file=sys.stdout)
        finally:
            stop.set()
            inflictor.is_over.set()
            inflictor.join()
            if more.is_alive():
                more.join()
        if inflictor.error is not None:
            done.problems.append(f"the faults could not be inflicted: {inflictor.error!r}")
        done.faults, done.inflicted = inflictor.done, inflictor.said
        self.bag.give_back([one for one in drawn if one not in done.faults])
        if kind == "new data" and not done.problems:
            done.num_pretrained = 1
            done.unlike += survived.unlike_undisturbed_letters(self.twin, letters_of, made=made, model=model)
            done.problems += done.unlike
        self._check(done, num_before)
        done.seconds = time.monotonic() - begun
        return done

    def _more(self, stop: threading.Event, done: Round) -> None:
        """Feedback that comes while the model learns: it is for the next cut."""
        try:
            self.installation.writer.write(10**6, stop=stop, pause=1.0)
        except AssertionError as err:
            done.problems.append(str(err))

    def _asked_for(self, deployment: str, done: Round, **given: Any) -> dict[str, Any]:
        """What the run gave; one that failed in words of ours is run again as it says."""
        for _ in range(3):
            run = self.installation.until_over(self.installation.run(deployment, **given))
            if run.state == "COMPLETED":
                return run.result
            said = failure(run, run.id)
            if run.state != "FAILED" or f"run {run.name} ended" in said.message:  # no error of ours, so no remedy
                done.problems.append(f"run {run.name} ended {run.state}: {run.message}")
                return {}
            done.told.append(str(said))
        done.problems.append("run again as it said, three times, it failed still")
        return {}

    def _until(self, holds: Callable[[], bool], done: Round, *, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, what
            given_up = [name for name, state in self.installation.states().items() if state == "failed"]
            if given_up and self.installation.is_up():
                done.told.append(f"{', '.join(given_up)} given up by the supervisor: started anew")
                self.installation.stop()
                self.installation.start()
            time.sleep(0.5)

    def _check(self, done: Round, num_before: int) -> None:
        """Adds what is wrong to the round's problems."""
        try:
            self._until(self._is_ready, done, what="a service stays down")
        except AssertionError as err:
            done.problems.append(f"{err}: {self.installation.states()}")
        checks = {
            survived.open_runs: (self.settings,),
            survived.half_promoted: (self.settings,),
            survived.not_served: (self.settings, TABLE),
            survived.left_on_their_way: (self.settings, TABLE),
            survived.broken_stores: (self.settings, self.verified),
        }
        for check, given in checks.items():
            done.problems += survived.until_none(lambda c=check, g=given: c(*g), seconds=SETTLE_SECONDS)
        lost = survived.lost_rows(self.settings, TABLE, self.installation.writer.acknowledged)
        done.lost = len(lost)
        done.problems += [f"lost: {one}" for one in lost[:3]]
        done.cuts = [cut for cut in self._cuts()[num_before:] if cut.model_version]
        unlike = list(survived.unlike_undisturbed(self.settings, self.twin, done.cuts))
        done.unlike += unlike
        done.problems += unlike

    def _is_ready(self) -> bool:
        return self.installation.is_up() and set(self.installation.states().values()) <= {"ready", "done"}

    def _cuts(self) -> list[Cut]:
        with Ledger(self.settings) as ledger:
            return ledger.cuts(TABLE)

    def _newest(self) -> int:
        with Ledger(self.settings) as ledger:
            return ledger.cut()

    def _is_consumed(self, wanted: int) -> bool:
        cuts = self._cuts()
        return bool(cuts) and cuts[-1].cut >= wanted


def main() -> None:
    fence_off("tests.benchmarks.faults")
    begun = time.monotonic()
    print(f"seed {SEED}", flush=True)
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="banyan-faults-") as folder:
        campaign = Campaign(Path(folder))
        try:
            campaign.installation.start()
            campaign.installation.set_up()
            print(f"set up after {time.monotonic() - begun:.0f} s", flush=True)
            while (left := NUM_FAULTS - sum(len(one.faults) for one in rounds)) > 0:
                if time.monotonic() - begun > LIMIT_SECONDS:
                    break
                rounds.append(campaign.round(min(FAULTS_A_ROUND, left)))
                tell(rounds[-1])
                if rounds[-1].problems:
                    break
            acknowledged = len(campaign.installation.writer.acknowledged)
        finally:
            if KEEP and (not rounds or rounds[-1].problems):
                _keep(campaign.settings.workspace.root, Path(KEEP))
            campaign.installation.stop()
            subprocess.run(["umount", "-l", str(Path(folder) / "disk")], check=False)
    whole = [one for one in rounds if not one.problems]
    result = {
        "benchmark": "faults",
        "faults": sum(len(one.faults) for one in whole),
        "lost": sum(one.lost for one in rounds),
        "equal_hashes": bool(whole) and not any(one.unlike for one in rounds),
        "hashes_compared": sum(len(one.cuts) + one.num_pretrained for one in rounds),
        "acknowledged": acknowledged,
        "rounds": len(rounds),
        "failed_rounds": len(rounds) - len(whole),
        "told": [line for one in rounds for line in one.told],
        "kinds": dict(Counter(fault.name for one in whole for fault in one.faults)),
        "not_met": sorted(fault.name for fault in campaign.bag.left),
        "kinds_of_rounds": dict(Counter(one.kind for one in whole)),
        "clock_jumps": campaign.clock.is_there,
        "seed": SEED,
        "seconds": round(time.monotonic() - begun),
        "load_1m": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))
    if result["failed_rounds"]:
        sys.exit(1)


def _keep(workspace: Path, folder: Path) -> None:
    """What is needed to find out why a round failed."""
    without = shutil.ignore_patterns("ballast", "*.sock")
    shutil.copytree(workspace, folder, dirs_exist_ok=True, ignore=without)
    shutil.copy(workspace.parent / "stack.log", folder)


def tell(one: Round) -> None:
    """What was inflicted and what became of it, for a person."""
    equal = f"{len(one.cuts)} retraining(s) and {one.num_pretrained} pretraining(s) with equal weights"
    outcome = "FAILED" if one.problems else f"survived, {equal}"
    print(f"{one.kind}, {one.seconds:.0f} s: {outcome}", flush=True)
    for line in (*one.inflicted, *(f"told: {said}" for said in one.told), *(f"WRONG: {what}" for what in one.problems)):
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
