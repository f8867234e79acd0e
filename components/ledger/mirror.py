"""MLflow's copy of the ledger: an answer as a trace, feedback as an assessment on it. Masked copies only.

It runs beside the relay, on a lane of the outbox of its own, so that neither waits for the other, and no answer for
either. Every id follows from the ledger's (the trace's is the request's), so what is sent twice is there once; while
MLflow is down, rows wait. Over plain HTTP: MLflow's client exports traces in the background and swallows errors.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from components.errors import ServiceDown
from components.ledger.schema import Answer, Feedback, OutboxRow
from components.ledger.store import Ledger, as_utc

log = logging.getLogger("banyan.mirror")

EXPERIMENT = "banyan-answers"
BATCH = 50
"""Rows a look, one look a second: MLflow on SQLite is left time for others."""
LONGEST_PAUSE_SECONDS = 60.0
GONE = {401, 403, 408, 429}
"""Not about these rows: wait, and try all of them again. So is every 5xx but a second assessment's."""


@dataclass
class Mirror:
    """Delivers the lane `mlflow`; `step` is one look at the ledger."""

    ledger: Ledger
    mlflow_url: Callable[[], str]
    """MLflow's root URL now. Raises ServiceDown while nobody knows it."""
    client: httpx.Client
    now: Callable[[], float] = time.time
    experiments: dict[str, str] = field(default_factory=dict)
    """Root URL → the experiment's id there."""
    num_failures: int = 0
    quiet_until: float = 0.0

    def step(self) -> int:
        """Deliver at most one batch; how many rows. An unreachable MLflow only makes it wait longer.

        Raises:
            LedgerError: the ledger did not answer.
        """
        if 0 < self.quiet_until - self.now() <= LONGEST_PAUSE_SECONDS:  # more: the clock was set back
            return 0
        rows = self.ledger.undelivered(limit=BATCH, to="mlflow")
        try:
            done = self._deliver(rows) if rows else 0
        except (httpx.HTTPError, ServiceDown) as err:
            self.num_failures += 1
            pause = min(2.0**self.num_failures, LONGEST_PAUSE_SECONDS)
            self.quiet_until = self.now() + pause
            self.experiments.clear()  # it may come back as another one
            log.warning("MLflow does not take traces (%s); next try in %.0f s", err, pause)
            return 0
        self.num_failures = 0
        return done

    def _deliver(self, rows: Sequence[OutboxRow]) -> int:
        traces = [row for row in rows if row.event == "mlflow.trace"]
        answers = [(row, self.ledger.answer(str(row.payload["request_id"]))) for row in traces]
        told = [(row, answer) for row, answer in answers if answer is not None]
        if self._send([answer for _, answer in told]):
            self.ledger.mark_delivered(traces)  # with those whose answer is no more
        else:
            for row, answer in told:  # one that MLflow refuses must not hold up the others
                self._settle(row, taken=self._send([answer]))
        for row in rows:
            if row.event == "mlflow.assessment":
                found = self.ledger.feedback_row(str(row.payload["feedback_id"]))
                self._settle(row, taken=found is None or self._assess(found))
        return len(rows)

    def _settle(self, row: OutboxRow, *, taken: bool) -> None:
        if taken:
            self.ledger.mark_delivered([row])
            return
        log.error("MLflow refuses %s of %s", row.event, row.resource.get("prefect.resource.id"))
        self.ledger.mark_failed([row], error="refused", retry_in_seconds=60.0 * 2 ** min(row.num_attempts, 10))

    # ------------------------------------------------------------ MLflow's HTTP API

    def _send(self, answers: Sequence[Answer]) -> bool:
        """Log the traces of these answers; False when MLflow refuses them. Logging one again changes nothing."""
        if not answers:
            return True
        body = {"resourceSpans": [{"scopeSpans": [{"spans": [_span(answer) for answer in answers]}]}]}
        headers = {"x-mlflow-experiment-id": self._experiment()}
        return _taken(self.client.post(f"{self._root()}/v1/traces", json=body, headers=headers))

    def _assess(self, row: Feedback) -> bool:
        """Log one assessment; False when MLflow refuses it. A second one with its id is not made."""
        trace = f"{self._root()}/api/3.0/mlflow/traces/{trace_id(row.request_id)}"
        body = {"assessment": _assessment(row)}
        answer = self.client.post(f"{trace}/assessments", json=body)
        if answer.status_code == 404:  # its trace was not sampled when the answer was given, or was deleted
            about = self.ledger.answer(row.request_id)
            if about is None or not self._send([about]):
                return about is None
            answer = self.client.post(f"{trace}/assessments", json=body)
        if answer.status_code >= 500 and assessment_id(row.feedback_id) in self._assessments(trace):
            return True
        return _taken(answer)

    def _assessments(self, trace: str) -> set[str]:
        answer = self.client.get(trace)
        answer.raise_for_status()
        about = answer.json()["trace"]["trace_info"]
        return {str(one.get("assessment_id")) for one in about.get("assessments", ())}

    def _experiment(self) -> str:
        root = self._root()
        if root not in self.experiments:
            api = f"{root}/api/2.0/mlflow/experiments"
            answer = self.client.get(f"{api}/get-by-name", params={"experiment_name": EXPERIMENT})
            if answer.status_code == 404:
                answer = self.client.post(f"{api}/create", json={"name": EXPERIMENT})
                answer.raise_for_status()
                self.experiments[root] = str(answer.json()["experiment_id"])
            else:
                answer.raise_for_status()
                self.experiments[root] = str(answer.json()["experiment"]["experiment_id"])
        return self.experiments[root]

    def _root(self) -> str:
        return self.mlflow_url().rstrip("/")


def trace_id(request_id: str) -> str:
    """MLflow's id of an answer's trace: its request id, where that is 128 bits in hexadecimal, else a hash of it."""
    return f"tr-{_otel_id(request_id)}"


def assessment_id(feedback_id: str) -> str:
    """MLflow's id of a feedback row."""
    return f"a-{hashlib.sha256(feedback_id.encode()).hexdigest()[:32]}"


def _otel_id(request_id: str) -> str:
    is_hex = len(request_id) == 32 and all(letter in "0123456789abcdef" for letter in request_id)
    return request_id if is_hex else hashlib.sha256(request_id.encode()).hexdigest()[:32]


def _taken(answer: httpx.Response) -> bool:
    if answer.status_code in GONE or answer.status_code >= 500:
        answer.raise_for_status()
    return answer.is_success


def _span(answer: Answer) -> dict[str, Any]:
    """One OTLP span, the root of its trace (OpenTelemetry protocol 1.x, JSON encoding)."""
    ended = round(answer.at * 1e9)
    said: Mapping[str, Any] = {
        "mlflow.spanType": "LLM",
        "mlflow.spanInputs": {"text": answer.text},
        "mlflow.spanOutputs": {"output": answer.output, "confidence": answer.confidence},
        "mlflow.traceTag.banyan.table": answer.table,
        "mlflow.traceTag.banyan.model": answer.model_name,
        "mlflow.traceTag.banyan.version": str(answer.model_version),
        "mlflow.traceTag.banyan.weights_sha256": answer.weights_sha256,
    }
    return {
        "traceId": _otel_id(answer.request_id),
        "spanId": hashlib.sha256(answer.request_id.encode()).hexdigest()[:16],
        "name": answer.table,
        "kind": 2,
        "startTimeUnixNano": str(ended - round(answer.seconds * 1e9)),
        "endTimeUnixNano": str(ended),
        "status": {"code": 1},
        "attributes": [
            {
                "key": key,
                "value": {"stringValue": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)},
            }
            for key, value in said.items()
        ],
    }


def _assessment(row: Feedback) -> dict[str, Any]:
    at = as_utc(row.at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    is_scripted = row.channel == "scripted-rater"
    metadata = {"feedback_id": row.feedback_id, "kind": row.kind, "channel": row.channel}
    name, value = _said(row)
    content = {"expectation": {"value": value}} if row.kind == "correct" else {"feedback": {"value": value}}
    about = {
        "assessment_id": assessment_id(row.feedback_id),
        "assessment_name": name,
        "trace_id": trace_id(row.request_id),
        "source": {"source_type": "CODE" if is_scripted else "HUMAN", "source_id": row.subject or row.channel},
        "create_time": at,
        "last_update_time": at,
        "metadata": metadata,
        "valid": True,
    }
    return about | content | ({"rationale": row.comment} if row.comment and row.kind != "comment" else {})


def _said(row: Feedback) -> tuple[str, object]:
    if row.kind == "correct":
        return "correction", row.correction or ""
    if row.kind == "rate":
        return "rating", row.rating
    if row.kind == "prefer":
        return "preferred_over", trace_id(row.other_request_id or "")
    if row.kind == "comment":
        return "comment", row.comment or ""
    return "thumb", row.kind == "approve"
