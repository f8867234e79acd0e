"""A whole installation whose loop takes seconds: a stack in processes of its own, a small table, a model of one layer.

Its stack is started and asked as a user does it: `python -m flows.stack`, Prefect's API by deployment name, the gateway
over HTTP. Nothing in it knows that it is being tested.
"""

import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from components.errors import BanyanError
from components.recipes import FileSource, Finetune, GatePolicy, Ingest, Pretrain
from components.settings import Settings
from components.supervisor import addresses, end_leftovers, is_running, leftovers, read_stack
from flows.remote import Prefect, Run
from flows.worker import RUN_ID

ROOT = Path(__file__).parents[2]
TABLE = "small"
RECIPE = Finetune(
    name="small",
    task="classification",
    table=TABLE,
    base="fresh",
    fresh={"family": "lstm", "vocab_size": 400, "num_layers": 1, "hidden_size": 64, "dropout": 0.1},
    splits={"train": None, "feedback": None},
    num_epochs=12,
    batch_size=8,
    max_length_tokens=32,
    optimizer="adamw",
    learning_rate=3e-3,
    precision="fp32",
    checkpoint_every_steps=20,
)
LETTERS = "letters"
MODEL_OF_LETTERS = Pretrain(
    name=LETTERS,
    table=LETTERS,
    family="lstm",
    vocab_size=320,
    num_layers=1,
    hidden_size=48,
    num_steps=240,
    batch_size=8,
    max_length_tokens=32,
    checkpoint_every_steps=20,
    evaluate_every_steps=120,
    learning_rate=5e-3,
    sample_prompt="early",
    sample_tokens=4,
    precision="fp32",
)
EAGER = GatePolicy(minimum_difference=-0.99, max_looks=None, slices=(), slices_rule="report", num_resamples=1000)
"""Promotes whatever is trained: a promotion that never happens cannot be left half done."""
PATIENCE_SECONDS = 420.0
BELL_ROWS = 104
"""A few more than `flows/recipes/retrain-when.yaml` wants."""


def sentence(draws: random.Random) -> tuple[str, str]:
    """A text and its label: which of two words comes first, which a bag of words cannot tell."""
    words = [f"{draws.choice('bdfgklmnprst')}{draws.choice('aeiou')}{draws.choice('lnrst')}" for _ in range(10)]
    first, second = sorted(draws.sample(range(10), 2))
    is_before = draws.random() < 0.5
    words[first], words[second] = ("early", "late") if is_before else ("late", "early")
    return " ".join(words), "ahead" if is_before else "behind"


def own_table(path: Path, *, seed: int, num_rows: int = 260) -> Ingest:
    """Writes the table; the recipe that reads it."""
    draws = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(sentence(draws) for _ in range(num_rows))
    return Ingest(name=TABLE, sources=(FileSource(path=path, table=TABLE, task="classification"),), test_share=0.3)


def own_letters(path: Path, *, seed: int, num_rows: int = 120) -> Ingest:
    """Writes a corpus; the recipe that reads it."""
    draws = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text",))
        writer.writerows([" ".join(sentence(draws)[0] for _ in range(8))] for _ in range(num_rows))
    source = FileSource(path=path, table=LETTERS, task="corpus")
    return Ingest(name=LETTERS, sources=(source,), corpus_heldout_share=0.1)


@dataclass
class Writer:
    """People who ask and correct, whatever happens meanwhile; each row until it is acknowledged."""

    settings: Settings
    draws: random.Random
    acknowledged: list[str] = field(default_factory=list)
    """Ids of feedback rows that the gateway has said it holds."""
    num_tries: int = 0

    def write(self, num_rows: int, *, stop: threading.Event | None = None, pause: float = 0.0) -> None:
        """Rows in turn; with `stop`, until it is set."""
        while num_rows > 0 and not (stop and stop.is_set()):
            if self._row(*sentence(self.draws), stop=stop):
                num_rows -= 1
            time.sleep(pause)

    def _row(self, text: str, label: str, *, stop: threading.Event | None) -> bool:
        feedback_id = str(uuid.UUID(int=self.draws.getrandbits(128), version=4))
        subject = f"person-{self.draws.randrange(40)}"  # one alone would be taken for a burst
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.num_tries += 1
            with contextlib.suppress(httpx.HTTPError, BanyanError, OSError), self._client() as client:
                asked = client.post(f"/v1/tasks/{TABLE}", json={"input": text, "subject": subject})
                if asked.is_success:
                    opinion = {"feedback_id": feedback_id, "request_id": asked.json()["request_id"]}
                    opinion |= {"kind": "correct", "correction": label, "subject": subject}
                    said = client.post("/v1/feedback", json=opinion)
                    if said.is_success:
                        self.acknowledged.append(feedback_id)
                        return True
                    # Said before, and the word of it got lost: the id stands for the same on another answer.
                    if said.status_code in (400, 409):
                        feedback_id = str(uuid.UUID(int=self.draws.getrandbits(128), version=4))
            if stop and stop.is_set():
                return False
            assert time.monotonic() < deadline, "the gateway took no feedback for so long"
            time.sleep(0.3)

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=addresses(self.settings).gateway, timeout=20, trust_env=False)


class Installation:
    """One workspace and whoever runs its stack."""

    def __init__(self, workspace: Path, *, seed: int, env: dict[str, str] | None = None) -> None:
        self.settings = Settings(BANYAN_WORKSPACE=workspace)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("BANYAN_", "PREFECT_"))}
        path = os.pathsep.join(filter(None, [str(ROOT), clean.get("PYTHONPATH", "")]))
        ours = {"BANYAN_WORKSPACE": str(workspace), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.env = clean | ours | (env or {})
        self.ingest = own_table(workspace.parent / f"{TABLE}.csv", seed=seed)
        self.writer = Writer(self.settings, random.Random(seed + 1))
        self.process: subprocess.Popen[bytes] | None = None
        self.seconds_of_first_training = 0.0

    # ------------------------------------------------------------ the stack, as a person handles it

    def start(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """`banyan up`, again until it comes up: a person would wait for the disk or the network, too."""
        deadline = time.monotonic() + seconds
        log = self.settings.workspace.root.parent / "stack.log"
        while True:
            begin = log.stat().st_size if log.exists() else 0
            with log.open("ab") as file:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "flows.stack"],
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
            while self.process.poll() is None:
                if b"the stack runs" in log.read_bytes()[begin:]:
                    return
                time.sleep(0.1)
            said = log.read_bytes()[begin:].decode("utf-8", "replace")
            if self.process.returncode == -signal.SIGKILL:  # by the next fault, before it was up
                continue
            assert "error:" in said, f"the stack ended without a word of ours:\n{said[-3000:]}"
            assert time.monotonic() < deadline, f"the stack does not come up any more:\n{said[-3000:]}"
            time.sleep(1.0)

    def stop(self) -> None:
        """Ctrl-C; nothing of it may be left."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(90)
        end_leftovers(self.settings.workspace)

    def is_up(self) -> bool:
        stack = read_stack(self.settings)
        return bool(stack and is_running(stack))

    def service(self, name: str) -> psutil.Process | None:
        """Its process; None while it is down."""
        stack = read_stack(self.settings) or {"services": []}
        pid = next((one["pid"] for one in stack["services"] if one["name"] == name), None)
        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid) if pid else None
        return None

    def states(self) -> dict[str, str]:
        """Service → state, as the stack says it."""
        stack = read_stack(self.settings)
        return {one["name"]: one["state"] for one in stack["services"]} if stack else {}

    def flow_runs(self) -> list[psutil.Process]:
        """The processes of flow runs: the one that Prefect knows, and the one that computes."""
        found = []
        for process in leftovers(self.settings.workspace):
            with contextlib.suppress(psutil.Error):
                if process.environ().get(RUN_ID):
                    found.append(process)
        return found

    # ------------------------------------------------------------ its flows

    def run(self, deployment: str, **parameters: Any) -> str:
        """Starts a run; its id. A server that is away for a while is asked again, as a person would."""
        return str(self._patiently(lambda: Prefect(self.settings).start(deployment, parameters)))

    def until_over(self, run_id: str, *, seconds: float = PATIENCE_SECONDS) -> Run:
        """The run at its end."""
        deadline = time.monotonic() + seconds
        while True:
            run: Run = self._patiently(lambda: Prefect(self.settings).read(run_id))
            if run.is_over and not (run.state == "CRASHED" and time.monotonic() < deadline - seconds + 90):
                return run
            assert time.monotonic() < deadline, f"run {run.name} is still {run.state} ({run.message}) at {run.stage}"
            time.sleep(0.3)

    def completed(self, run_id: str) -> Run:
        run = self.until_over(run_id)
        assert run.state == "COMPLETED", f"{run.name}: {run.state} {run.message}"
        return run

    def set_up(self) -> None:
        """Data and a first champion."""
        self.completed(self.run("ingest/cpu", recipe=self.ingest.model_dump(mode="json")))
        given = {"recipe": RECIPE.model_dump(mode="json"), "policy": EAGER.model_dump(mode="json")}
        begun = time.monotonic()
        self.completed(self.run("finetune/cpu", **given))
        self.seconds_of_first_training = time.monotonic() - begun

    def _patiently(self, ask: Any, *, seconds: float = PATIENCE_SECONDS) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except BanyanError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
