"""Champion and challenger asked the same, for somebody who does not see which is which."""

import asyncio
import secrets
import time

from fastapi import APIRouter, Depends, Request

from components.serving import problems
from components.serving.batching import Batcher
from components.serving.gateway import Gateway, check_length, receipt_of
from components.serving.messages import Alternative, Body, Question, Reply
from components.serving.streams import unless_gone


class Pair(Body):
    """Two answers to one text, in an order that is drawn; the receipts say whose they are."""

    answers: list[Reply]


def router(gateway: Gateway) -> APIRouter:
    """The route, to be included in the application."""
    rater = Depends(gateway.door.needs("rater"))
    router = APIRouter()

    @router.post("/v1/tasks/{table}/compare", dependencies=[rater])
    async def compare(table: str, question: Question, request: Request) -> Pair:
        """Both answers, each in the ledger: `prefer` is feedback on the better one, with the other one's id."""
        with gateway.counting_failures(table):
            answers = await unless_gone(request, _both(gateway, table, question))
        gateway.metrics.requests.labels(table, "compared").inc()
        secrets.SystemRandom().shuffle(answers)
        return Pair(answers=answers)

    return router


async def _both(gateway: Gateway, table: str, question: Question) -> list[Reply]:
    check_length(question.input)
    champion = gateway.champions.batcher(table)
    challenger = _challenger(gateway, table)
    if challenger is None:
        raise problems.NotFound(
            f"nobody answers beside the champion of {table!r}", f"banyan canary {table} --version N --shadow"
        )
    return [await _ask(gateway, one, table, question.input, question.subject) for one in (champion, challenger)]


def _challenger(gateway: Gateway, table: str) -> Batcher | None:
    seat = next((seat for seat in gateway.champions.seats() if seat.table == table), None)
    if seat is None:
        return None
    return next((arm.batcher for arm in seat.arms.values() if arm.batcher and arm.split.ref != seat.wanted), None)


async def _ask(gateway: Gateway, batcher: Batcher, table: str, text: str, subject: str | None) -> Reply:
    started = time.perf_counter()
    answer = await gateway.in_time(batcher.engine, asyncio.wrap_future(batcher.submit(text)))
    receipt = receipt_of(batcher.engine)
    seconds = time.perf_counter() - started
    await gateway.keep(receipt, batcher.engine, table, text, answer, subject, seconds=seconds)
    return Reply(
        request_id=receipt.request_id,
        output=answer.output,
        confidence=answer.confidence,
        alternatives=[Alternative(label=label, probability=p) for label, p in answer.alternatives],
        receipt=receipt,
    )
