"""Stores of the size of a year's work, for the dashboard's benchmark: bulk inserts into the real schemas."""

import csv
import json
import random
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert

from components.ledger import schema
from components.ledger.store import Ledger
from components.settings import Settings
from tests.dashboard.installation import LABELS, TEXTS

TABLE, MODEL = "library", "banyan-library"
YEAR_SECONDS = 365 * 86_400
CHUNK = 5_000


def fill_registry(database: Path, *, num_runs: int, num_versions: int, seed: int) -> None:
    """Runs with curves, and the newest of them as versions of one registered model whose last is champion."""
    from mlflow import MlflowClient
    from mlflow.store.model_registry.dbmodels import models as registered
    from mlflow.store.tracking.dbmodels import models as tracked

    url = f"sqlite:///{database}"
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    experiment = client.create_experiment(MODEL, artifact_location=database.with_name("artifacts").as_uri())
    client.create_registered_model(MODEL)
    draw, now = random.Random(seed), time.time()
    rows: dict[Any, list[dict[str, Any]]] = {}
    for number in range(num_runs):
        run_id = uuid.UUID(int=draw.getrandbits(128)).hex
        at = int((now - YEAR_SECONDS * (1 - number / num_runs)) * 1000)
        rows.setdefault(tracked.SqlRun, []).append(
            {
                "run_uuid": run_id, "name": f"library-{number}", "source_type": "UNKNOWN", "user_id": "banyan",
                "status": "FINISHED", "start_time": at, "end_time": at + 60_000, "lifecycle_stage": "active",
                "artifact_uri": "", "experiment_id": int(experiment), "source_name": "", "entry_point_name": "",
                "source_version": "",
            }
        )  # fmt: skip
        # Without this tag MLflow's own page of runs shows none.
        named = {"run_uuid": run_id, "key": "mlflow.runName", "value": f"library-{number}"}
        rows.setdefault(tracked.SqlTag, []).append(named)
        accuracy = 0.45 + 0.2 * number / num_runs + draw.uniform(-0.02, 0.02)
        metrics = {"accuracy": accuracy, "baseline_accuracy": 0.44, "chance": 0.125, "macro_f1": accuracy - 0.01}
        for step in range(20):
            point = {"timestamp": at + step, "step": step, "is_nan": False, "run_uuid": run_id}
            rows.setdefault(tracked.SqlMetric, []).append({"key": "loss", "value": 2.0 / (step + 1), **point})
        for key, value in metrics.items():
            last = {"key": key, "value": value, "timestamp": at, "step": 20, "is_nan": False, "run_uuid": run_id}
            rows.setdefault(tracked.SqlLatestMetric, []).append(last)
        version = number - (num_runs - num_versions) + 1
        if version < 1:
            continue
        about = {"name": MODEL, "version": version}
        space = registered.SqlModelVersion.__table__.columns
        if "workspace" in space:
            about["workspace"] = "default"
        rows.setdefault(registered.SqlModelVersion, []).append(
            about
            | {"creation_time": at, "last_updated_time": at, "description": "# A card", "current_stage": "None"}
            | {"source": "", "run_id": run_id, "status": "READY"}
        )
        tags = {
            "banyan.task": "classification", "banyan.role": "candidate", "banyan.data_version": f"{number:032x}",
            "banyan.weights_sha256": f"{number:064x}", "banyan.lock_key": f"{number:064x}"[::-1],
            "banyan.recipe_sha256": f"{number % 7:064x}", "banyan.revision": f"{number:040x}",
            "banyan.metrics": json.dumps(metrics), "banyan.recipe": json.dumps({"base": "minilm", "name": "library"}),
        }  # fmt: skip
        rows.setdefault(registered.SqlModelVersionTag, []).extend(
            {**about, "key": key, "value": value} for key, value in tags.items()
        )
    engine = create_engine(url)
    with engine.begin() as connection:
        for model, found in rows.items():
            for first in range(0, len(found), CHUNK):
                connection.execute(insert(model.__table__), found[first : first + CHUNK])
    engine.dispose()
    client.set_registered_model_alias(MODEL, "champion", str(num_versions))


def fill_ledger(settings: Settings, *, num_answers: int, num_feedback: int, num_versions: int, seed: int) -> None:
    """Answers over all versions, feedback with its fates, a look a version, twenty changes of champion."""
    draw, now = random.Random(seed), time.time()
    answers: list[dict[str, Any]] = []
    for number in range(num_answers):
        version = 1 + number * num_versions // num_answers
        share = draw.uniform(0.3, 0.95)
        answers.append(
            {
                "request_id": f"request-{number:08d}", "at": now - YEAR_SECONDS * (1 - number / num_answers),
                "table_name": TABLE, "model_name": MODEL, "model_version": version,
                "weights_sha256": f"{version:064x}", "template_sha256": "7" * 64, "generation": {},
                "text": f"{TEXTS[number % 8]} {number}", "output": LABELS[number % 8], "confidence": share,
                "alternatives": [[LABELS[number % 8], share], [LABELS[(number + 1) % 8], 1 - share]],
                "subject": f"{number % 500:064x}", "seconds": 0.02,
            }
        )  # fmt: skip
    feedback: list[dict[str, Any]] = []
    fates: list[dict[str, Any]] = []
    empty = {"reason": "", "data_version": "", "model_name": "", "model_version": 0, "effect": None}
    for number in range(num_feedback):
        about = answers[number * num_answers // num_feedback]
        name, at, is_right = f"feedback-{number:08d}", about["at"] + 5, number % 3 > 0
        feedback.append(
            {
                "sequence": number + 1, "feedback_id": name, "request_id": about["request_id"], "at": at,
                "table_name": TABLE, "kind": "approve" if is_right else "correct",
                "correction": None if is_right else LABELS[(number + 3) % 8], "comment": None,
                "subject": about["subject"], "channel": "api", "content_sha256": f"{number:064x}",
            }
        )  # fmt: skip
        fates.append({**empty, "feedback_id": name, "at": at, "fate": "received"})
        if number % 9 == 8:
            fates.append({**empty, "feedback_id": name, "at": at + 1, "fate": "refused", "reason": "in the test split"})
        elif number < num_feedback - 50:
            model = {"model_name": MODEL, "model_version": about["model_version"] + 1, "data_version": f"{number:032x}"}
            fates.append(
                {**empty, "feedback_id": name, "at": at + 1, "fate": "admitted", "data_version": f"{number:032x}"}
            )
            fates.append({**empty, **model, "feedback_id": name, "at": at + 2, "fate": "trained"})
            if not is_right:
                effect = {"score_before": 0.0, "score_after": float(number % 4 > 0)}
                fates.append(
                    {**empty, **model, "feedback_id": name, "at": at + 3, "fate": "measured", "effect": effect}
                )
    with Ledger(settings, mask=list) as ledger, ledger.database.write() as connection:
        tables = ((schema.answers, answers), (schema.feedback, feedback), (schema.fates, fates))
        for table, rows in tables:
            for first in range(0, len(rows), CHUNK):
                connection.execute(insert(table), rows[first : first + CHUNK])
        counter = schema.counters.update().where(schema.counters.c.name == "feedback")
        connection.execute(counter.values(value=num_feedback))
        judged = [_judged(version, now, num_versions) for version in range(1, num_versions + 1)]
        connection.execute(insert(schema.verdicts), [verdict for verdict, _ in judged])
        connection.execute(insert(schema.looks), [look for _, look in judged])
        connection.execute(insert(schema.costs), [_cost(number, now) for number in range(1000)])
        cut = {"table_name": TABLE, "cut": num_feedback - 50, "at": now, "outcome": "promote"}
        connection.execute(insert(schema.cuts), [cut | {"model_name": MODEL, "model_version": num_versions}])
    with Ledger(settings, mask=list) as ledger:
        step = max(1, num_versions // 20)
        for version in range(step, num_versions + 1, step):
            entry = {
                "move_id": uuid.uuid4().hex, "action": "promote", "name": MODEL, "alias": "champion",
                "from_version": version - step or None, "to_version": version, "weights_sha256": f"{version:064x}",
                "actor": "gate", "evidence": {}, "note": "", "state": "done",
            }  # fmt: skip
            ledger.append_journal(entry)


def _judged(version: int, now: float, num_versions: int) -> tuple[dict[str, Any], dict[str, Any]]:
    verdict = "promote" if version % max(1, num_versions // 20) == 0 else "inconclusive"
    at = now - YEAR_SECONDS * (1 - version / num_versions)
    shared = {
        "at": at, "model_name": MODEL, "model_version": version, "against": "champion",
        "against_version": max(0, version - 1), "verdict": verdict,
    }  # fmt: skip
    figures = {"difference": 0.03, "low": 0.01, "high": 0.05, "p_value": 0.01, "num_examples": 1000}
    slices = [
        {"name": f"label: {label}", "num_examples": 125, "difference": 0.01 * (place - 3), "finding": "not worse",
         "p_not_worse": 0.01, "p_worse": 0.9}
        for place, label in enumerate(LABELS)
    ]  # fmt: skip
    evidence = figures | {
        "num_wins": 130, "num_losses": 100, "reason": "as it was drawn", "slices": slices,
        "look": {"number": 1 + version % 25, "budget": 25, "level": 0.01, "test_set": f"set {version // 25}"},
        "calibration": {
            "error": 0.1, "champion_error": 0.12, "brier_difference": -0.01, "brier_low": -0.02, "brier_high": 0.001
        },
        "seeds": None, "probe": None,
    }  # fmt: skip
    policy = {"confidence_level": 0.95, "slice_margin": 0.05, "slices_rule": "not_worse", "minimum_seeds": 1}
    row = shared | figures | {"metric": "accuracy", "num_more_needed": None, "policy": policy}
    look = shared | {"test_set": f"set {version // 25}", "evidence": evidence}
    return row | {"data_version": f"{version:032x}"}, look


def _cost(number: int, now: float) -> dict[str, Any]:
    return {
        "at": now - YEAR_SECONDS * (1 - number / 1000), "run_id": f"run-{number}", "stage": "train",
        "subject_name": MODEL, "device": "cpu", "seconds": 60.0, "peak_memory_bytes": 2 * 10**9,
        "energy_joules": 1500.0, "energy_source": "estimate: 2 cores at 12 W",
    }  # fmt: skip


def another_data_version(settings: Settings, folder: Path) -> None:
    """One more beside `commit_data`'s, so that there is a choice and a difference."""
    from components.data import versioning
    from components.recipes import FileSource, Ingest

    path = folder / "library-later.csv"
    pairs = list(zip(TEXTS, LABELS, strict=True))
    rows = [(f"{text} Put otherwise, {n}.", label) for n in range(20) for text, label in pairs]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    source = FileSource(path=path, table=TABLE, task="classification", licence="BSD-3-Clause")
    versioning.ingest(Ingest(name="later-file", sources=(source,)), settings=settings)


def multiply_runs(database: Path, *, num_runs: int) -> None:
    """Prefect's flow runs: the rows that its own API wrote, copied under new ids until there are so many."""
    with sqlite3.connect(database, timeout=60) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        for table in ("flow_run", "flow_run_state"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            if table == "flow_run":
                states, runs, run_columns = {}, rows, columns
                continue
            states = {dict(zip(columns, row, strict=True))["id"]: row for row in rows}
            state_columns = columns
        ended = [dict(zip(run_columns, row, strict=True)) for row in runs]
        ended = [row for row in ended if row["state_type"] == "COMPLETED" and row["state_id"] in states]
        have, made_runs, made_states = len(runs), [], []
        for number in range(max(0, num_runs - have)):
            run = dict(ended[number % len(ended)])
            state = dict(zip(state_columns, states[run["state_id"]], strict=True))
            run["id"], state["id"] = str(uuid.uuid4()), str(uuid.uuid4())
            run |= {"state_id": state["id"], "idempotency_key": None, "name": f"{run['name']}-{number}"}
            run["parent_task_run_id"] = None
            state["flow_run_id"] = run["id"]
            made_runs.append(tuple(run.values()))
            made_states.append(tuple(state.values()))
        for table, made in (("flow_run", made_runs), ("flow_run_state", made_states)):
            if made:
                marks = ", ".join("?" * len(made[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", made)
    connection.close()
