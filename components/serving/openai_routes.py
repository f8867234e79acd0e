"""The OpenAI-compatible routes: a table's champion asked as a model of that API.

A model is its task, so its prompt template stands around whatever is asked: a completion's prompt and a chat's one user
message are the task's input. Only a dialogue has a place for a system message and for what was said before; it, and
question answering, may be told to look into the workspace's documents first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from components.errors import GatewayUnavailable, NoChampion, UsageError
from components.retrieval.ranking import Citation
from components.serving import problems
from components.serving.batching import Engine
from components.serving.conversation import (
    CONVERSES,
    Asked,
    citations_of,
    look_up,
    point,
    related_of,
    retrieved,
    turns_of,
)
from components.serving.decoding import Sampling
from components.serving.gateway import WRITE_SECONDS, Gateway, Said, Writing, check_length, receipt_of, seeded
from components.serving.openai_messages import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Generation,
    embedding_row,
    envelope,
    usage,
)
from components.serving.streams import DONE, EventStream, event, unless_gone
from components.tasks.base import Answer

Choice = Callable[[str | None, str | None], dict[str, Any]]
"""A piece of text (or all of it) and a finish reason, as a choice of the reply or of a chunk."""


def openai_router(gateway: Gateway) -> APIRouter:
    """The routes, to be included in the application."""
    router = APIRouter(dependencies=[Depends(gateway.door.needs("viewer"))])

    @router.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """The champion's answer to a prompt; with `stream`, token by token where its engine writes."""
        whole: Choice = lambda text, reason: {  # noqa: E731
            "index": 0, "text": text or "", "logprobs": None, "finish_reason": reason
        }  # fmt: skip
        kinds = ("text_completion", "text_completion")
        with gateway.counting_failures(_table(gateway, body.model)):
            return await _complete(gateway, request, body, body.text(), *kinds, whole, whole)

    @router.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        """The champion's answer to one user message; with `stream`, token by token where its engine writes."""
        with gateway.counting_failures(_table(gateway, body.model)):
            return await _chat(gateway, request, body)

    @router.post("/v1/embeddings")
    async def embeddings(body: EmbeddingRequest, request: Request) -> dict[str, Any]:
        """The champion's embeddings, of length 1; of encoders alone."""
        with gateway.counting_failures(_table(gateway, body.model)):
            return await _embed(gateway, request, body)

    @router.get("/v1/models/{model}")
    async def model(model: str) -> dict[str, Any]:
        """One model."""
        table, _ = _engine(gateway, model)
        seat = next(seat for seat in gateway.champions.seats() if seat.table == table)
        return model_row(table, seat.since.timestamp() if seat.since else 0)

    return router


def model_row(table: str, since: float) -> dict[str, Any]:
    """A model as the OpenAI API lists it."""
    return {"id": table, "object": "model", "created": int(since), "owned_by": "banyan"}


def _message(text: str | None, reason: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}


def _delta(text: str | None, reason: str | None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": text} if text is not None else {}
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


async def _embed(gateway: Gateway, request: Request, body: EmbeddingRequest) -> dict[str, Any]:
    table, engine = _engine(gateway, body.model)
    if engine.num_dimensions is None:
        raise problems.Unprocessable(f"{table} has no embeddings", "ask a classifier over an encoder")
    if body.dimensions not in (None, engine.num_dimensions):
        raise problems.Unprocessable(
            f"{table}'s embeddings have {engine.num_dimensions} dimensions, not {body.dimensions}",
            "leave dimensions out",
        )
    texts = body.texts()
    if sum(map(len, texts)) > 4 * 16_000:
        raise problems.TooLarge("the texts have more than 64000 characters together")

    def embed() -> tuple[list[list[float]], int]:
        return engine.embed(texts), sum(engine.num_tokens(text)[0] for text in texts)

    coming = asyncio.wrap_future(gateway.champions.batcher(table).run(embed))
    vectors, num_tokens = await unless_gone(request, gateway.in_time(engine, coming))
    gateway.metrics.requests.labels(table, "embedded").inc()
    return {
        "object": "list",
        "data": [embedding_row(i, vector, body.encoding_format) for i, vector in enumerate(vectors)],
        "model": f"{table}@{engine.ref.version}",
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }


def _table(gateway: Gateway, model: str) -> str:
    """The table that a model's name stands for, if there is one of that name."""
    tables = {seat.table for seat in gateway.champions.seats()}
    return model if model in tables else model.removeprefix("banyan-").partition("@")[0]


def _engine(gateway: Gateway, model: str) -> tuple[str, Engine]:
    """The table that a model's name stands for, and who answers for it."""
    version = model.removeprefix("banyan-").partition("@")[2]
    table = _table(gateway, model)
    try:
        engine = gateway.champions.batcher(table).engine
    except NoChampion as err:
        raise problems.NotFound(f"there is no model {model!r}", "GET /v1/models lists what there is") from err
    if version and table != model and version != str(engine.ref.version):
        raise problems.NotFound(
            f"version {version!r} does not serve: {engine.ref} does", f"ask {table}, whichever version it is"
        )
    return table, engine


def _sampling(table: str, engine: Engine, asked: Generation, max_tokens: int | None) -> Sampling | None:
    """How to write, or None for an engine whose answers come whole."""
    if engine.decoder is None:
        useless = {
            "max_tokens": max_tokens,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "seed": asked.seed,
            "stop": asked.stop,
        }
        given = sorted(name for name, value in useless.items() if value is not None)
        if given:
            raise problems.Unprocessable(f"{table} does not write: {given[0]} has no effect on it", "leave it out")
        return None
    most = engine.max_new_tokens
    if max_tokens is not None and max_tokens > most:
        raise problems.Unprocessable(f"{table} writes at most {most} tokens, not {max_tokens}", "ask for fewer")
    usual = engine.generation.get("max_new_tokens")
    sampling = Sampling(
        max_tokens=max_tokens or min(most, usual if isinstance(usual, int) else 32),
        temperature=asked.temperature or 0.0,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        stop=asked.stops(),
    )
    return seeded(sampling, asked.seed) if sampling.temperature else sampling


async def _complete(
    gateway: Gateway,
    request: Request,
    body: Generation,
    text: str,
    kind: str,
    chunk_kind: str,
    whole: Choice,
    piece: Choice,
    more: Callable[[str], dict[str, Any]] | None = None,
) -> Response:
    """`more`: what is said of an answer besides, once it is whole."""
    if body.stream_options is not None and not body.stream:
        raise problems.Unprocessable("stream_options without stream have no effect", "set stream, or leave them out")
    check_length(text)
    table, engine = _engine(gateway, body.model)
    longest = body.max_completion_tokens if isinstance(body, ChatRequest) else None
    if longest is not None and body.max_tokens is not None:
        raise problems.Unprocessable("max_tokens and max_completion_tokens are one thing", "send one of them")
    sampling = _sampling(table, engine, body, longest or body.max_tokens)
    created, started = int(time.time()), time.perf_counter()
    count = gateway.metrics.requests.labels
    if sampling is None:
        said = await unless_gone(request, _ask(gateway, table, engine, text, body.user))
    else:
        who = await gateway.who(table, body.user)
        writing = gateway.write(table, text, sampling, subject=body.user, who=who)
        if body.stream:
            head = envelope(chunk_kind, writing.receipt, table=table, created=created)
            wants_usage = bool(body.stream_options and body.stream_options.include_usage)
            count(table, "streamed").inc()
            return EventStream(_told(writing, head, piece, wants_usage, more), on_leave=writing.close)
        try:
            said = await unless_gone(request, _shielded(writing))
        finally:
            writing.close()
    count(table, "answered").inc()
    gateway.metrics.seconds.labels(table).observe(time.perf_counter() - started)
    head = envelope(chunk_kind if body.stream else kind, said.receipt, table=table, created=created)
    if body.stream:
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(_retold(said, head, piece, wants_usage, more), on_leave=lambda: None)
    about = {"usage": usage(said), "receipt": said.receipt.model_dump(mode="json")}
    about |= more(said.answer.output) if more else {}
    return JSONResponse(head | {"choices": [whole(said.answer.output, said.finish_reason)]} | about)


async def _chat(gateway: Gateway, request: Request, body: ChatRequest) -> Response:
    if asked := await _conversation(gateway, body):
        return await _converse(gateway, request, body, asked)
    if [message.role for message in body.messages] != ["user"]:
        raise problems.Unprocessable(
            "this model answers one message of role user: its task's template has no place for others",
            "send the text as one user message",
        )
    text = body.messages[0].text()
    if not text.strip():
        raise problems.Unprocessable("the message is empty", "say something")
    return await _complete(gateway, request, body, text, "chat.completion", "chat.completion.chunk", _message, _delta)


async def _conversation(gateway: Gateway, body: ChatRequest) -> Asked | None:
    """The turns with what was retrieved for them; None where the one message is the task's input as it is."""
    _, engine = _engine(gateway, body.model)
    if engine.task not in CONVERSES:
        if body.retrieve is not None or body.graph is not None:
            raise problems.Unprocessable(
                f"{body.model} does not converse: retrieve and graph have no effect", "leave them out"
            )
        return None
    if engine.task == "question_answering" and not body.retrieve:
        return None
    if body.graph and not body.retrieve:
        raise problems.Unprocessable("graph without retrieve has no effect", "say how many passages to retrieve")
    turns, system = turns_of([(message.role, message.text()) for message in body.messages])
    if system and engine.task == "question_answering":
        raise problems.Unprocessable(
            f"{body.model} points into documents: it has no place for a system message", "leave it out"
        )
    check_length(turns[-1])
    looked_up = partial(
        look_up, turns, system, most=body.retrieve or 0, graph=body.graph or "", settings=gateway.settings
    )
    try:
        return await asyncio.get_running_loop().run_in_executor(None, looked_up)
    except UsageError as err:
        raise problems.Unprocessable(err.message, err.remedy) from err


async def _converse(gateway: Gateway, request: Request, body: ChatRequest, asked: Asked) -> Response:
    table, engine = _engine(gateway, body.model)

    def told(citations: list[dict[str, Any]]) -> dict[str, Any]:
        places = [Citation(one["document"], one["sentence"], one["start"]) for one in citations]
        related = related_of(places, graph=body.graph or "", settings=gateway.settings)
        return {"citations": citations, "retrieved": retrieved(asked), "related": related}

    kinds = ("chat.completion", "chat.completion.chunk")
    if engine.task != "question_answering":
        more = lambda output: told(citations_of(asked, output))  # noqa: E731
        return await _complete(gateway, request, body, asked.as_text(), *kinds, _message, _delta, more)
    if body.max_tokens or body.max_completion_tokens or body.temperature or body.stop:
        raise problems.Unprocessable(
            f"{table} does not write: it points into documents", "leave lengths, temperature and stop out"
        )
    created, started = int(time.time()), time.perf_counter()
    batcher = gateway.champions.pick(table, await gateway.who(table, body.user))
    pointed = await unless_gone(request, gateway.in_time(batcher.engine, asyncio.ensure_future(point(batcher, asked))))
    receipt = receipt_of(batcher.engine)
    seconds = time.perf_counter() - started
    await gateway.keep(receipt, batcher.engine, table, pointed.text, pointed.answer, body.user, seconds=seconds)
    gateway.metrics.requests.labels(table, "answered").inc()
    gateway.metrics.seconds.labels(table).observe(seconds)
    numbers = batcher.engine.num_tokens(pointed.text, pointed.content)
    said = Said(receipt, Answer(pointed.content, pointed.answer.confidence), "stop", *numbers)
    head = envelope(kinds[bool(body.stream)], receipt, table=table, created=created)
    about = told(pointed.citations)
    if body.stream:
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(_retold(said, head, _delta, wants_usage, lambda _: about), on_leave=lambda: None)
    about |= {"usage": usage(said), "receipt": receipt.model_dump(mode="json")}
    return JSONResponse(head | {"choices": [_message(pointed.content, "stop")]} | about)


async def _ask(gateway: Gateway, table: str, engine: Engine, text: str, subject: str | None) -> Said:
    said = await gateway.ask(table, text, subject=subject)
    return Said(said.receipt, said.answer, "stop", *engine.num_tokens(text, said.answer.output))


async def _shielded(writing: Writing) -> Said:
    """A client that leaves must not take the ledger's row with it: the text is ended, and kept."""
    said = await asyncio.shield(writing.said)
    if said.finish_reason == "cancelled":
        raise GatewayUnavailable(
            f"{writing.engine.ref} did not finish in {WRITE_SECONDS:.0f} s", "ask for fewer tokens"
        )
    return said


More = Callable[[str], dict[str, Any]] | None


async def _told(
    writing: Writing, head: dict[str, Any], piece: Choice, wants_usage: bool, more: More
) -> AsyncIterator[bytes]:
    """Events as the text is written; the last one only when the answer is durable."""
    try:
        async for text in writing.pieces():
            yield event(head | {"choices": [piece(text, None)]})
        try:
            said = await writing.said
        except Exception as err:  # blanket: the edge; the status was sent long ago
            writing.failed(err)
            yield event(problems.as_error(err))
            return
        for last in _end(said, head | (more(said.answer.output) if more else {}), piece, wants_usage):
            yield last
    finally:
        writing.close()


async def _retold(
    said: Said, head: dict[str, Any], piece: Choice, wants_usage: bool, more: More = None
) -> AsyncIterator[bytes]:
    """An answer that came whole, as a stream of one piece."""
    yield event(head | {"choices": [piece(said.answer.output, None)]})
    for last in _end(said, head | (more(said.answer.output) if more else {}), piece, wants_usage):
        yield last


def _end(said: Said, head: dict[str, Any], piece: Choice, wants_usage: bool) -> list[bytes]:
    receipt = said.receipt.model_dump(mode="json")
    last = [event(head | {"choices": [piece(None, said.finish_reason)], "receipt": receipt})]
    if wants_usage:
        last.append(event(head | {"choices": [], "usage": usage(said)}))
    return [*last, DONE]
