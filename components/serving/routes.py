"""The gateway's own routes: one endpoint per task, feedback, and what says how it stands."""

import time
import uuid
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from components.errors import UsageError
from components.feedback.mine import Mine, mine
from components.ledger.keys import ROLES
from components.ledger.kinds import check_kind
from components.ledger.schema import Fate
from components.ledger.store import Ledger
from components.serving import problems
from components.serving.auth import Caller, NotAllowed
from components.serving.champions import Seat
from components.serving.channels import GuardedChannels
from components.serving.gateway import Gateway
from components.serving.messages import Alternative, Id, Opinion, Question, Received, Reply
from components.serving.openai_routes import model_row
from components.serving.streams import unless_gone


def router(gateway: Gateway, guarded: GuardedChannels) -> APIRouter:
    """The routes, to be included in the application. `guarded`: channels that take an operator's key."""
    champions, metrics = gateway.champions, gateway.metrics
    viewer, rater, operator = (Depends(gateway.door.needs(role)) for role in ROLES)
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 once a champion answers; 503 and why until then."""
        states = {seat.table: seat.state for seat in champions.seats()}
        ready = any(seat.batcher for seat in champions.seats())
        reason = champions.registry_problem or ("" if ready else "no champion answers yet")
        return JSONResponse({"ready": ready, "models": states, "reason": reason}, 200 if ready else 503)

    @router.get("/v1/models", dependencies=[viewer])
    async def models() -> dict[str, Any]:
        """Who answers for each table, and what is on its way; `data` is the same in OpenAI's shape."""
        ready = [model_row(s.table, s.since.timestamp() if s.since else 0) for s in champions.seats() if s.batcher]
        about = {"models": [_describe(seat) for seat in champions.seats()], "registry": champions.registry_problem}
        return {"object": "list", "data": ready} | about

    @router.get("/metrics", dependencies=[operator])
    async def scrape() -> Response:
        return Response(metrics.text(champions), media_type="text/plain; version=0.0.4")

    @router.post("/v1/tasks/{table}", dependencies=[viewer])
    async def ask(table: str, question: Question, request: Request) -> Reply:
        """One answer of the table's champion, with its receipt; durable in the ledger before it is sent."""
        started = time.perf_counter()
        with gateway.counting_failures(table):
            said = await unless_gone(request, gateway.ask(table, question.input, subject=question.subject))
        metrics.requests.labels(table, "answered").inc()
        metrics.seconds.labels(table).observe(time.perf_counter() - started)
        answer = said.answer
        return Reply(
            request_id=said.receipt.request_id,
            output=answer.output,
            confidence=answer.confidence,
            alternatives=[Alternative(label=label, probability=p) for label, p in answer.alternatives],
            receipt=said.receipt,
        )

    @router.post("/v1/feedback")
    async def give_feedback(opinion: Opinion, caller: Annotated[Caller, rater]) -> Received:
        """Keep what somebody thinks of an answer; durable before it is acknowledged."""
        if caller.role != "operator" and opinion.channel in guarded:
            gateway.refused("POST", "/v1/feedback", "channel")
            raise NotAllowed(f"channel {opinion.channel} is not screened for bursts: it needs an operator's key")
        if opinion.kind == "correct" and not (opinion.correction or "").strip():
            raise problems.Unprocessable("kind is correct, but there is no correction", "send correction")
        try:
            check_kind(
                opinion.kind,
                correction=opinion.correction or None,
                comment=opinion.comment,
                rating=opinion.rating,
                other=opinion.other_request_id,
            )
        except UsageError as err:
            raise problems.Unprocessable(err.message, err.remedy) from err
        feedback_id = opinion.feedback_id or uuid.uuid4().hex
        await gateway.on_ledger(lambda ledger: _keep(ledger, feedback_id, opinion))
        return Received(feedback_id=feedback_id)

    @router.get("/v1/feedback/{feedback_id}", dependencies=[rater])
    async def fate(feedback_id: Id) -> dict[str, Any]:
        """What became of a feedback row, step by step."""
        history: list[Fate] = await gateway.on_ledger(lambda ledger: ledger.fate_of(feedback_id))
        if not history:
            raise problems.NotFound(f"there is no feedback {feedback_id!r}")
        return {"feedback_id": feedback_id, "fate": history[-1].fate, "history": history}

    @router.get("/v1/mine/{an_id}", dependencies=[rater])
    async def own(an_id: Id) -> dict[str, Any]:
        """What became of one's own feedback, by the id of a row or of a receipt; nobody else's comes with it."""
        found = await gateway.on_ledger(lambda ledger: mine(ledger, an_id))
        if not found:
            raise problems.NotFound(f"nothing was said under {an_id!r}", "use a feedback id, or a receipt's request id")
        return {"feedback": [_own(one) for one in found]}

    return router


def _own(one: Mine) -> dict[str, Any]:
    row = one.feedback
    names = ("feedback_id", "request_id", "at", "table", "kind", "correction", "comment", "rating", "fate", "reason")
    said = {name: getattr(row, name) for name in (*names, "text", "output", "model_version")}
    return said | {"history": [asdict(step) for step in one.way]}


def _keep(ledger: Ledger, feedback_id: str, opinion: Opinion) -> None:
    about = [ledger.answer(one) for one in (opinion.request_id, opinion.other_request_id) if one]
    for request_id, answer in zip((opinion.request_id, opinion.other_request_id), about, strict=False):
        if answer is None:
            raise problems.NotFound(f"there is no answer {request_id!r}", "use the request_id of its receipt")
    compared = {(answer.table, answer.text) for answer in about if answer}
    if len(compared) > 1 or opinion.request_id == opinion.other_request_id:
        raise problems.Unprocessable("a preference is between two answers to the same text", "ask the same text twice")
    try:
        ledger.record_feedback(
            feedback_id,
            request_id=opinion.request_id,
            kind=opinion.kind,
            correction=opinion.correction or None,
            comment=opinion.comment,
            rating=opinion.rating,
            other_request_id=opinion.other_request_id,
            subject=opinion.subject,
            channel=opinion.channel,
        )
    except UsageError as err:  # the id stands for other feedback
        raise problems.Conflict(err.message, err.remedy) from err


def _describe(seat: Seat) -> dict[str, Any]:
    about: dict[str, Any] = {
        "table": seat.table,
        "state": seat.state,
        "problem": seat.problem,
        "wanted_version": seat.wanted.version if seat.wanted else None,
    }
    if seat.batcher:
        engine = seat.batcher.engine
        about |= {
            "model": engine.ref.name,
            "version": engine.ref.version,
            "weights_sha256": engine.ref.weights_sha256,
            "task": engine.task,
            "example": engine.example,
            "labels": engine.labels,
            "template_sha256": engine.template_sha256,
            "generation": engine.generation,
            "instead": getattr(engine, "instead", ""),
            "since": seat.since,
            "num_waiting": seat.batcher.num_waiting,
            "has_challenger": any(arm.batcher for arm in seat.arms.values()),
        }
    return about
