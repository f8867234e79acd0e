"""`kill -9` in the middle of a training, on the whole stack: the same run finishes, and the weights are bit for bit
those of a training that nobody disturbed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from components.data import versioning
from components.recipes import Ingest, InterpreterSource, Pretrain
from components.settings import Settings
from components.supervisor import addresses, leftovers, read_stack
from components.training.pretraining import pretrain

pytestmark = pytest.mark.slow

RECIPE = Pretrain(
    name="small",
    num_steps=160,
    batch_size=8,
    max_length_tokens=64,
    vocab_size=400,
    num_layers=2,
    num_heads=2,
    hidden_size=64,
    learning_rate=3e-3,
    checkpoint_every_steps=10,
    evaluate_every_steps=40,
    sample_tokens=8,
)


class WholeStack:
    def __init__(self, workspace: Path):
        self.settings = Settings(BANYAN_WORKSPACE=workspace)
        self.process = None

    def start(self):
        # below those that Linux gives to clients: a client that happens to have the one of a server keeps it out
        ports = {"PREFECT": 13310, "MLFLOW": 13320, "GATEWAY": 13330, "DASHBOARD": 13340}
        env = {name: value for name, value in os.environ.items() if not name.startswith(("BANYAN_", "PREFECT_"))}
        env |= {f"BANYAN_{name}_PORT": str(port) for name, port in ports.items()}
        env["BANYAN_WORKSPACE"] = str(self.settings.workspace.root)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.stack"], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("the stack runs"):
                self.api = httpx.Client(base_url=addresses(self.settings).prefect + "/api", timeout=60)
                return
        raise AssertionError("".join(lines))

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(60) == 0
        for process in leftovers(self.settings.workspace):
            process.kill()

    def kill_everything(self):
        self.process.kill()
        self.process.wait()
        for process in leftovers(self.settings.workspace):
            process.kill()

    def kill_worker_and_its_runs(self):
        worker = next(s["pid"] for s in read_stack(self.settings)["services"] if s["name"] == "worker")
        for process in [*psutil.Process(worker).children(recursive=True), psutil.Process(worker)]:
            os.kill(process.pid, signal.SIGKILL)

    def call(self, method, path, body=None):
        answer = self.api.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def run(self, deployment, parameters):
        found = self.call("GET", f"/deployments/name/{deployment}")["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.call("POST", f"/deployments/{found}/create_flow_run", body)["id"]

    def until_done(self, run_id, seconds=800):
        deadline = time.monotonic() + seconds
        while True:
            run = self.call("GET", f"/flow_runs/{run_id}")
            if run["state"]["type"] == "COMPLETED":
                return run
            assert run["state"]["type"] not in ("FAILED", "CANCELLED"), run["state"]["message"]
            assert time.monotonic() < deadline, (run["state"], self.log(run_id))
            time.sleep(0.3)

    def until_checkpoint(self, after=0, seconds=600):
        """The newest checkpoint's step, once there is one later than `after`."""
        deadline = time.monotonic() + seconds
        while True:
            steps = [int("".join(c for c in path.name if c.isdigit()) or 0) for path in self.checkpoints()]
            if max(steps, default=0) > after:
                return max(steps)
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def checkpoints(self):
        return [path for path in self.settings.workspace.runs.glob("*/checkpoints/*") if not path.name.startswith(".")]

    def log(self, run_id):
        path = self.settings.workspace.logs / "runs" / f"{run_id}.log"
        return path.read_text() if path.exists() else "(no log)"


@pytest.fixture
def stack(tmp_path):
    made = WholeStack(tmp_path / "workspace")
    made.start()
    yield made
    made.stop()
    assert leftovers(made.settings.workspace) == []


def test_a_training_killed_twice_ends_with_the_weights_of_one_that_was_not(stack, tmp_path):
    ingest = Ingest(
        name="small",
        sources=(InterpreterSource(),),
        corpus_chars_per_source=120_000,
        split_rows={"train": 20, "test": 20, "pool": 10, "reserve": 10},
    )
    stack.until_done(stack.run("ingest/cpu", {"recipe": ingest.model_dump(mode="json")}))
    run_id = stack.run("pretrain/cpu", {"recipe": RECIPE.model_dump(mode="json")})

    first = stack.until_checkpoint()
    stack.kill_worker_and_its_runs()
    second = stack.until_checkpoint(after=first)
    stack.kill_everything()
    assert second < RECIPE.num_steps, "it was done before it could be killed"
    stack.start()
    run = stack.until_done(run_id)

    assert run["run_count"] == 3, stack.log(run_id)
    finished = [json.loads(path.read_text()) for path in stack.settings.workspace.runs.glob("*/run.json")]
    assert len(finished) == 1, "an attempt began anew instead of going on"
    assert stack.log(run_id).count("step 1 of 160") == 1, "an attempt began at the first step again"
    undisturbed = pretrain(
        RECIPE,
        data_dir=versioning.path_of(versioning.head(stack.settings), stack.settings),
        run_dir=tmp_path / "undisturbed",
    )
    assert finished[0]["weights_sha256"] == undisturbed.weights_sha256
