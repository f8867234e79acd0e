"""A small installation with real stores: ledger, registry, data versions, gateway, Prefect. No model is trained.

The gateway's engines are a few lines; everything that the dashboard reads is read from where it would be read.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pandas as pd
import pytest

from components.ledger.journal import Journal
from components.ledger.schema import Fate
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.registry import BASELINE, PER_EXAMPLE, Registry
from components.settings import Settings
from components.tasks.base import Answer

if TYPE_CHECKING:
    from components.evaluation.gate import Verdict

LABELS = ("cirq", "django", "keras", "mne", "networkx", "nltk", "sympy", "twisted")
DATA_VERSION = "5f3e1c0a9b7d4e2f8a6c1b3d5e7f9012"
TEXTS = (
    "Returns the shortest path between two nodes, by Dijkstra's algorithm.",
    "Simplify an expression by combining powers with like bases and exponents.",
    "A middleware that adds headers to each response so that browsers do not cache it.",
    "Split a text into sentences with an unsupervised model of abbreviations.",
    "Dense layer: applies a matrix, adds a bias, and then an activation.",
    "Decompose a two-qubit unitary into single-qubit gates and CZ gates.",
    "Read the head position of a recording and interpolate over bad channels.",
    "A protocol that parses lines and hands each on to a callback.",
)


@dataclass(frozen=True)
class Installation:
    settings: Settings
    models: dict[str, ModelRef]

    def environment(self) -> dict[str, str]:
        """What a dashboard in a process of its own is started with."""
        ours = {
            "BANYAN_WORKSPACE": str(self.settings.workspace.root),
            "BANYAN_MLFLOW_URL": self.settings.mlflow_url,
            "BANYAN_PREFECT_URL": self.settings.prefect_url,
            "BANYAN_GATEWAY_URL": self.settings.gateway_url,
        }
        return {name: value for name, value in ours.items() if value}


# ---------------------------------------------------------------- models


def log_scores(registry: Registry, ref: ModelRef, accuracy: float) -> None:
    """Two hundred rows of the test split, as a training keeps them: the surer, the more often right."""
    rows: list[dict[str, Any]] = [
        {"id": str(n), "score": float((n * 7919 % 200) / 200 < accuracy * (0.6 + n / 250)), "confidence": 0.3 + n / 300}
        for n in range(200)
    ]
    for n, row in enumerate(rows):
        row |= {"target": LABELS[n % 5], "prediction": LABELS[n % 5 if row["score"] else (n + 1) % 5]}
    with tempfile.TemporaryDirectory() as scratch:
        for name in (PER_EXAMPLE, BASELINE):
            pd.DataFrame(rows).to_parquet(Path(scratch) / name, index=False)
        registry.run(ref.run_id).files(Path(scratch))


def train_on(url: str) -> None:
    """A training that is at work, as far as MLflow knows."""
    run = Registry(url).start_run("banyan-library", name="library", params={}, tags={})
    for step in range(1, 61):
        run.log({"loss": 2.1 * 0.97**step + (step % 7) * 0.03}, step=step)
    run.flush()


def register_models(url: str) -> dict[str, ModelRef]:
    """Versions with tags and metrics, without weights: the registry is asked for words only."""
    registry = Registry(url)
    client: Any = registry._client
    files = Path(url.removeprefix("sqlite:///")).with_name("artifacts").as_uri()

    def version(name: str, task: str, metrics: dict[str, float], role: str = "candidate", **recipe: str) -> ModelRef:
        number = len(registry.versions(name)) + 1
        digest = f"{abs(hash((name, number))):064x}"[-64:]
        if number == 1:
            client.create_registered_model(name)
        given = {
            "banyan.task": task,
            "banyan.data_version": DATA_VERSION,
            "banyan.weights_sha256": digest,
            "banyan.lock_key": digest[::-1],
            "banyan.recipe_sha256": digest[:32] * 2,
            "banyan.revision": "389b624",
            "banyan.metrics": json.dumps(metrics),
            "banyan.role": role,
            "banyan.recipe": json.dumps(recipe),
        }
        experiment = client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else client.create_experiment(name, artifact_location=files)
        run = client.create_run(place)
        made = client.create_model_version(
            name, source=f"runs:/{run.info.run_id}/model", run_id=run.info.run_id, tags=given, description="# A card"
        )
        ref = registry.ref(name, int(made.version))
        if task == "classification":
            log_scores(registry, ref, metrics["accuracy"])
        return ref

    classes = {"chance": 0.125, "top3": 0.71, "macro_f1": 0.46}
    return {
        "gpt": version("banyan-gpt", "corpus", {"bits_per_byte": 1.84, "heldout_loss": 2.9}, family="gpt"),
        "before": version("banyan-library", "classification", {"accuracy": 0.471, **classes}, base="minilm"),
        "control": version(
            "banyan-library", "classification", {"accuracy": 0.558, **classes}, base="minilm", role="control"
        ),
        "after": version("banyan-library", "classification", {"accuracy": 0.573, **classes}, base="minilm"),
        "summary": version("banyan-summary", "summarisation", {"rougeL": 0.291}, base="smollm2"),
    }


# ---------------------------------------------------------------- ledger


def finding(verdict: str, difference: float, low: float, high: float, *, look: int = 1) -> "Verdict":
    """A gate's verdict with everything that a gate keeps."""
    from components.evaluation.calibration import Calibration
    from components.evaluation.gate import Verdict
    from components.evaluation.robustness import Asked, Probe
    from components.evaluation.seeds import SeedSpread
    from components.evaluation.slices import Slice
    from components.evaluation.spending import Look
    from components.recipes import GatePolicy

    kinds = (
        ("label: nltk", 125, 0.12, "not worse", 1e-4),
        ("label: mne", 125, -0.09, "worse", 0.97),
        ("length: long", 333, 0.01, "unknown", 0.06),
    )
    slices = tuple(
        Slice(name=name, num_examples=n, difference=d, finding=what, p_not_worse=p, p_worse=1 - p)  # type: ignore[arg-type]
        for name, n, d, what, p in kinds
    )
    return Verdict(
        verdict=verdict,  # type: ignore[arg-type]
        difference=difference, low=low, high=high, p_value=0.001, num_examples=1000, num_wins=180, num_losses=78,
        num_more_needed=None, reason=f"better by {difference:+.3f}", policy=GatePolicy(),
        look=Look(number=look, budget=25, level=0.025, test_set="t" * 32), look_low=low, slices=slices,
        calibration=Calibration(
            error=0.06, champion_error=0.11, brier_difference=-0.02, brier_low=-0.03, brier_high=-0.01
        ),
        seeds=SeedSpread(num_seeds=3, difference=0.1, low=0.02, high=0.18, seed_deviation=0.01),
        probe=Probe(
            num_examples=200, typo_share=0.05,
            challenger=Asked(score=0.57, typo_score=0.52, paraphrase_score=0.55, seconds_per_example=0.006),
            champion=Asked(score=0.47, typo_score=0.4, seconds_per_example=0.007),
        ),
    )  # fmt: skip


def record(ledger: Ledger, model: ModelRef, found: "Verdict", **about: Any) -> None:
    """As `candidate.judge` does."""
    evidence = found.model_dump(mode="json", exclude={"policy"})
    ledger.record_verdict(model, found, test_set=f"set of {model.name}", evidence=evidence, **about)


def fill_ledger(settings: Settings, models: dict[str, ModelRef]) -> None:
    """80 answers, feedback on 60 of them with every kind of fate, verdicts, and two changes of champion."""
    start = time.time() - 7200
    clock = iter(start + 20 * step for step in range(10_000))
    with Ledger(settings, mask=list, clock=lambda: next(clock)) as ledger:
        registry, journal = Registry(settings.mlflow_url or ""), Journal(ledger, settings.workspace)
        record(
            ledger, models["before"], finding("promote", 0.151, 0.118, 0.184), champion=None, metric="accuracy",
            data_version="5f3e1c0a",
        )  # fmt: skip
        journal.move(registry, models["before"], actor="gate", evidence={"verdict": "promote"})
        fates: list[Fate] = []
        for row in range(80):
            truth, output = LABELS[row % 8], LABELS[(row if row % 5 else row + 1) % 8]
            share = 0.42 + (row % 7) * 0.07
            others = [(label, (1 - share) / 7) for label in LABELS if label != output]
            ledger.record_answer(
                f"request-{row:04d}", table="library", model=models["before"], template_sha256="7" * 64,
                generation={"max_length_tokens": 64}, text=TEXTS[row % 8], output=output, confidence=share,
                alternatives=[(output, share), *others], subject="scripted-rater", seconds=0.02,
            )  # fmt: skip
            if row >= 60:
                continue
            name = f"feedback-{row:04d}"
            is_right = output == truth
            ledger.record_feedback(
                name, request_id=f"request-{row:04d}", kind="approve" if is_right else "correct",
                correction=None if is_right else truth, channel="scripted-rater", subject="scripted-rater",
            )  # fmt: skip
            if row % 11 == 10:
                fates.append(ledger.fate(name, "refused", reason="in the test split"))
            elif row < 50:
                fates.append(ledger.fate(name, "admitted", data_version="9ab1c2d3e4"))
                model = {"model_name": "banyan-library", "model_version": models["after"].version}
                fates.append(ledger.fate(name, "trained", data_version="9ab1c2d3e4", **model))
                if not is_right:
                    effect = {"score_before": 0.0, "score_after": float(row % 4 != 0), "output_after": truth}
                    fates.append(ledger.fate(name, "measured", effect=effect, **model))
        ledger.append_fates(fates)
        ledger.consume("library", 50, outcome="promote", model=models["after"])
        record(
            ledger, models["after"], finding("promote", 0.102, 0.071, 0.133, look=2), champion=models["before"],
            metric="accuracy", data_version="9ab1c2d3",
        )  # fmt: skip
        journal.move(registry, models["after"], actor="gate", evidence={"verdict": "promote"})
        record(
            ledger, models["summary"], finding("promote", 0.064, 0.041, 0.088), champion=None, metric="rougeL",
            data_version="5f3e1c0a",
        )  # fmt: skip
        journal.move(registry, models["summary"], actor="gate", evidence={"verdict": "promote"})
        for one, seconds in zip(models.values(), (90.0, 24.0, 110.0, 117.0, 96.0), strict=True):
            ledger.record_cost(
                one.run_id, "train", subject_name=one.name, device="cpu", seconds=seconds,
                energy_joules=seconds * 25.0, energy_source="estimate: 2 cores at 12 W", peak_memory_bytes=1_600_000,
            )  # fmt: skip
        for stage, seconds in (("ingest", 26.0), ("pretrain", 111.0), ("finetune library", 50.0)):
            ledger.record_cost("turn", stage, subject_name="loop", device="", seconds=seconds)
        ledger.record_answer(
            "request-summary", table="summary", model=models["summary"], template_sha256="8" * 64,
            generation={"max_new_tokens": 32}, text="def add(a, b):\n    return a + b", output="Add two numbers.",
        )  # fmt: skip


# ---------------------------------------------------------------- data


def commit_data(settings: Settings, folder: Path) -> None:
    """A version from a small file of ours, then a build that the gate keeps out."""
    from components.data import versioning
    from components.errors import ValidationFailed
    from components.recipes import FileSource, Ingest

    rows = [
        {"text": f"{text} Variant {number} of them.", "label": label, "source": label}
        for number in range(12)
        for text, label in zip(TEXTS, reversed(LABELS), strict=True)
    ]
    good = folder / "library.csv"
    pd.DataFrame([*rows, {"text": "", "label": "nltk", "source": "nltk"}, rows[0]]).to_csv(good, index=False)
    source = FileSource(path=good, table="library", task="classification", licence="BSD-3-Clause")
    versioning.ingest(Ingest(name="own-file", sources=(source,)), settings=settings)
    bad = folder / "poisoned.csv"
    kept = {"nltk", "keras", "sympy"}
    pd.DataFrame([{**row, "label": row["label"] if row["label"] in kept else ""} for row in rows]).to_csv(bad)
    with contextlib.suppress(ValidationFailed):
        poisoned = FileSource(path=bad, table="library", task="classification", licence="BSD-3-Clause")
        versioning.ingest(Ingest(name="poisoned-file", sources=(poisoned,)), settings=settings)


def write_test_rows(settings: Settings) -> None:
    """The rows that `log_scores` has scores of, in the folder of the data version that the models name."""
    from components.data.tables import columns, write_split, write_table_info

    folder = settings.workspace.data / "versions" / DATA_VERSION
    empty = dict.fromkeys(columns("classification"), "")
    rows = [
        empty | {"id": str(n), "text": f"{TEXTS[n % 8]} Test row {n}.", "label": LABELS[n % 5], "source": "packages"}
        for n in range(200)
    ]
    write_split(folder, "library", "test", pd.DataFrame(rows), task="classification")
    write_table_info(folder, "library", task="classification", labels=LABELS, licences={})


# ---------------------------------------------------------------- gateway


class KnownEngine:
    """Answers by the text's first known word, always the same."""

    template_sha256 = "7" * 64

    def __init__(self, ref: ModelRef, *, task: str) -> None:
        self.ref, self.task = ref, task
        self.labels = LABELS if task == "classification" else ()
        self.example = TEXTS[0] if self.labels else "def add(a, b):\n    return a + b"
        self.generation = {"engine": "torch", "max_length_tokens": 64}

    decoder = None  # it tells its answers whole, also to whoever asks for a stream

    def num_tokens(self, text: str, output: str) -> tuple[int, int]:
        return len(text.split()), len(output.split())

    def answer(self, texts: list[str]) -> list[Answer]:
        if not self.labels:
            return [Answer("Add two numbers and return their sum.", 0.63) for _ in texts]
        shares = (0.62, 0.17, 0.08, 0.05, 0.03, 0.02, 0.02, 0.01)
        order = ("networkx", "sympy", "django", "keras", "nltk", "twisted", "mne", "cirq")
        return [Answer("networkx", 0.62, tuple(zip(order, shares, strict=True))) for _ in texts]


@contextlib.contextmanager
def gateway(
    settings: Settings,
    champions: dict[str, tuple[ModelRef, str]],
    *,
    load: Callable[[str, ModelRef], Any] | None = None,
) -> Iterator[str]:
    """The real gateway in a thread, over engines of a few lines unless others are loaded; its URL."""
    import uvicorn

    from components.serving.app import create_app
    from components.serving.champions import Champions

    tasks = {table: task for table, (_, task) in champions.items()}
    seats: Any = Champions(
        find=lambda: {table: ref for table, (ref, _) in champions.items()},
        load=load or (lambda table, ref: KnownEngine(ref, task=tasks[table])),  # type: ignore[arg-type,return-value]
        poll_seconds=0.2,
    )
    app = create_app(settings, champions=seats, ledger=Ledger(settings, mask=list))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        wait_for(f"{url}/readyz")
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(10)


# ---------------------------------------------------------------- Prefect


@contextlib.contextmanager
def prefect(folder: Path) -> Iterator[str]:
    """A real server, still starting; its URL."""
    port = free_port()
    env = os.environ | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    }
    argv = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def fill_prefect(api: str) -> None:
    """A few runs of the loop, of which one runs and one has failed."""
    with httpx.Client(base_url=api, timeout=30) as http:

        def call(path: str, body: Any) -> Any:
            for _ in range(40):
                answer = http.post(path, json=body)
                if answer.status_code != 503:  # SQLite is locked for a moment; Prefect's own client tries again too
                    break
                time.sleep(0.25)
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

        call("/work_pools/", {"name": "cpu", "type": "process", "base_job_template": {}})
        ids = {}
        for name in ("ingest", "pretrain", "finetune", "evaluate", "retrain", "loop"):
            flow = call("/flows/", {"name": name})["id"]
            body = {"name": "cpu", "flow_id": flow, "tags": ["banyan"], "work_pool_name": "cpu"}
            ids[name] = (flow, call("/deployments/", body)["id"])

        clock = {"cron": "0 3 * * 1", "timezone": "Asia/Shanghai"}
        given = {"table": "library"}
        body = {"schedule": clock, "active": True, "parameters": given, "slug": "monday"}
        call(f"/deployments/{ids['retrain'][1]}/schedules", [body])

        def run(flow: str, end: str, table: str = "", message: str = "") -> str:
            flow_id, deployment = ids[flow]
            parameters = {"table": table} if table else {}
            body = {"flow_id": flow_id, "deployment_id": deployment, "parameters": parameters, "tags": ["banyan"]}
            made = str(call("/flow_runs/", {**body, "state": {"type": "PENDING"}})["id"])
            for kind, said in (("RUNNING", ""), (end, message)):
                state = {"type": kind, "message": said}
                call(f"/flow_runs/{made}/set_state", {"state": state, "force": True})
            return made

        def step(of: str, name: str, end: str = "COMPLETED") -> None:
            body = {"flow_run_id": of, "task_key": name, "dynamic_key": "0", "name": f"{name}-0a1", "tags": []}
            made = call("/task_runs/", body)["id"]
            for kind in ("RUNNING", end):
                call(f"/task_runs/{made}/set_state", {"state": {"type": kind}, "force": True})

        ingest = run("ingest", "COMPLETED")
        for name in ("build", "validate", "commit"):
            step(ingest, name)
        run("pretrain", "COMPLETED", "corpus")
        run("finetune", "COMPLETED", "library")
        why = "Flow run encountered an exception: NonFiniteLoss: loss is nan at step 12"
        run("evaluate", "FAILED", "summary", why)
        run("finetune", "COMPLETED", "summary")
        call("/work_pools/", {"name": "gpu", "type": "process", "base_job_template": {}})
        body = {"name": "gpu", "flow_id": ids["pretrain"][0], "tags": ["banyan"], "work_pool_name": "gpu"}
        given = {"recipe": {"name": "large", "table": "corpus"}}
        call(f"/deployments/{call('/deployments/', body)['id']}/create_flow_run", {"parameters": given})
        retrain = run("retrain", "RUNNING", "library")
        step(retrain, "collect")
        step(retrain, "train", "RUNNING")
        lines = [
            {
                "name": "banyan",
                "level": 20,
                "message": line,
                "timestamp": _stamp(time.time() + n),
                "flow_run_id": retrain,
            }
            for n, line in enumerate(("660 rows of library", "step 25 of 80, loss 1.412, 610 tokens/s"))
        ]
        call("/logs/", lines)


# ---------------------------------------------------------------- odds and ends


def _stamp(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).isoformat()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(url: str, *, seconds: float = 30.0) -> None:
    """Until `url` answers with success.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).is_success:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {seconds:.0f} s")


@contextlib.contextmanager
def installed(root: Path) -> Iterator[Installation]:
    """Everything at once. Prefect takes longest to start, so the rest is made meanwhile."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    mlflow_url = f"sqlite:///{root / 'mlflow.db'}"
    bare = Settings(BANYAN_WORKSPACE=root / "workspace", mlflow_url=mlflow_url)  # type: ignore[call-arg]
    with prefect(root / "prefect") as prefect_url:
        models = register_models(mlflow_url)
        train_on(mlflow_url)
        fill_ledger(bare, models)
        commit_data(bare, root)
        write_test_rows(bare)
        wait_for(f"{prefect_url}/api/health", seconds=180)
        fill_prefect(f"{prefect_url}/api")
        served = {"library": (models["after"], "classification"), "summary": (models["summary"], "summarisation")}
        with gateway(bare, served) as gateway_url:
            urls = {"prefect_url": prefect_url, "gateway_url": gateway_url}
            yield Installation(bare.model_copy(update=urls), models)


_kept: list[Installation] = []


def shared(request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> Installation:
    """The session's one installation: starting it takes most of a minute on a busy machine."""
    if not _kept:
        stack = contextlib.ExitStack()
        request.config.add_cleanup(stack.close)
        _kept.append(stack.enter_context(installed(folders.mktemp("installation"))))
    return _kept[0]
