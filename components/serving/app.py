"""The gateway: asks the champions, hands out receipts, takes feedback.

Nothing is said before it is durable in the ledger, and no prompt is ever logged.
Run it with `python -m components.serving.app --port 8000`.
"""

import argparse
import asyncio
import logging
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from components.errors import BanyanError, GatewayUnavailable, LedgerError, PortTaken, UsageError
from components.ledger.schema import Fate
from components.ledger.store import Ledger
from components.serving import problems
from components.serving.auth import LOOPBACK_NAMES, key_check, refuse_open_binding
from components.serving.champions import Champions, Seat, watching
from components.serving.limits import BodyLimit
from components.serving.messages import MAX_INPUT_CHARS, Alternative, Id, Opinion, Question, Received, Reply
from components.serving.metrics import Metrics
from components.serving.receipts import Receipt, issue
from components.settings import Settings, load_settings
from components.tasks.base import Answer

log = logging.getLogger("banyan.gateway")

MAX_BODY_BYTES = 64 * 1024
ANSWER_SECONDS = 60.0

T = TypeVar("T")


def create_app(
    settings: Settings,
    *,
    champions: Champions | None = None,
    ledger: Ledger | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """The gateway as an ASGI application. Models load after it has started; nothing is opened before.

    Args:
        champions: who answers; default: the registry's champions, loaded by torch.
        ledger: where answers and feedback are kept; default: the settings' own.

    Raises:
        RecipeError: `settings.host` is off loopback and there is no key.
    """
    refuse_open_binding(settings)
    if champions is None:
        from components.serving.engines import registry_champions

        champions = registry_champions(settings)
    metrics = metrics or Metrics()
    gateway = _Gateway(settings, champions, ledger, metrics)

    app = FastAPI(title="Banyan gateway", lifespan=gateway.lifespan, redoc_url=None)
    problems.install(app)
    _add_routes(app, gateway, Depends(key_check(settings.api_key)))
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES, refuse=problems.too_large(MAX_BODY_BYTES))
    if settings.is_loopback:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES)
    app.add_middleware(problems.LastResort)
    return app


class _Gateway:
    """What the routes share."""

    def __init__(self, settings: Settings, champions: Champions, ledger: Ledger | None, metrics: Metrics) -> None:
        self.settings = settings
        self.champions = champions
        self.metrics = metrics
        self._ledger, self._was_given = ledger, ledger is not None
        # Two: one writes (SQLite has one writer), one reads meanwhile.
        self._threads = ThreadPoolExecutor(2, "ledger")
        self._opening = threading.Lock()

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        try:
            await self.on_ledger(lambda _: None)  # opened now: the first request should not pay for it
        except LedgerError as err:
            log.error("%s", err)  # each request tries again, and says 503 until it works
        async with watching(self.champions):
            yield
        self._threads.shutdown()
        if self._ledger is not None and not self._was_given:
            self._ledger.close()

    async def on_ledger(self, call: Callable[[Ledger], T]) -> T:
        """`call(ledger)` in a thread. Raises LedgerError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(self._open()))

    async def ask(self, table: str, question: Question) -> tuple[Receipt, Answer]:
        """One answer, durable."""
        if len(question.input) > MAX_INPUT_CHARS:
            raise problems.TooLarge(f"the input has {len(question.input)} characters; {MAX_INPUT_CHARS} are taken")
        started = time.perf_counter()
        batcher = self.champions.batcher(table)
        engine = batcher.engine
        pending = asyncio.wrap_future(batcher.submit(question.input))
        try:
            answer = await asyncio.wait_for(pending, ANSWER_SECONDS)
        except TimeoutError as err:
            raise GatewayUnavailable(f"{engine.ref} gave no answer in {ANSWER_SECONDS:.0f} s", "try again") from err
        receipt = issue(engine.ref, template_sha256=engine.template_sha256, generation=engine.generation)
        seconds = time.perf_counter() - started
        await self.on_ledger(
            lambda ledger: ledger.record_answer(
                request_id=receipt.request_id,
                table=table,
                model=engine.ref,
                template_sha256=receipt.template_sha256,
                generation=receipt.generation,
                text=question.input,
                output=answer.output,
                confidence=answer.confidence,
                alternatives=answer.alternatives,
                subject=question.subject,
                seconds=seconds,
            )
        )
        return receipt, answer

    def _open(self) -> Ledger:
        with self._opening:
            if self._ledger is None:
                self._ledger = Ledger(self.settings)
            return self._ledger


def _add_routes(app: FastAPI, gateway: _Gateway, keyed: Any) -> None:
    champions, metrics = gateway.champions, gateway.metrics

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 once a champion answers; 503 and why until then."""
        states = {seat.table: seat.state for seat in champions.seats()}
        ready = any(seat.batcher for seat in champions.seats())
        reason = champions.registry_problem or ("" if ready else "no champion answers yet")
        return JSONResponse({"ready": ready, "models": states, "reason": reason}, 200 if ready else 503)

    @app.get("/v1/models", dependencies=[keyed])
    async def models() -> dict[str, Any]:
        """Who answers for each table, and what is on its way."""
        return {"models": [_describe(seat) for seat in champions.seats()], "registry": champions.registry_problem}

    @app.get("/metrics", dependencies=[keyed])
    async def scrape() -> Response:
        return Response(metrics.text(champions), media_type="text/plain; version=0.0.4")

    @app.post("/v1/tasks/{table}", dependencies=[keyed])
    async def ask(table: str, question: Question) -> Reply:
        """One answer of the table's champion, with its receipt; durable in the ledger before it is sent."""
        known = table in {seat.table for seat in champions.seats()}
        started = time.perf_counter()
        try:
            receipt, answer = await gateway.ask(table, question)
        except Exception as err:
            if known:  # a label for every misspelt table would grow without bound
                metrics.requests.labels(table, type(err).__name__).inc()
            raise
        metrics.requests.labels(table, "answered").inc()
        metrics.seconds.labels(table).observe(time.perf_counter() - started)
        return Reply(
            request_id=receipt.request_id,
            output=answer.output,
            confidence=answer.confidence,
            alternatives=[Alternative(label=label, probability=p) for label, p in answer.alternatives],
            receipt=receipt,
        )

    @app.post("/v1/feedback", dependencies=[keyed])
    async def give_feedback(opinion: Opinion) -> Received:
        """Keep what somebody thinks of an answer; durable before it is acknowledged."""
        if opinion.kind == "correct" and not (opinion.correction or "").strip():
            raise problems.Unprocessable("kind is correct, but there is no correction", "send correction")
        if opinion.kind != "correct" and opinion.correction:
            raise problems.Unprocessable(f"kind is {opinion.kind}, but there is a correction", "send kind correct")
        feedback_id = opinion.feedback_id or uuid.uuid4().hex
        await gateway.on_ledger(lambda ledger: _keep(ledger, feedback_id, opinion))
        return Received(feedback_id=feedback_id)

    @app.get("/v1/feedback/{feedback_id}", dependencies=[keyed])
    async def fate(feedback_id: Id) -> dict[str, Any]:
        """What became of a feedback row, step by step."""
        history: list[Fate] = await gateway.on_ledger(lambda ledger: ledger.fate_of(feedback_id))
        if not history:
            raise problems.NotFound(f"there is no feedback {feedback_id!r}")
        return {"feedback_id": feedback_id, "fate": history[-1].fate, "history": history}


def _keep(ledger: Ledger, feedback_id: str, opinion: Opinion) -> None:
    if ledger.answer(opinion.request_id) is None:
        raise problems.NotFound(f"there is no answer {opinion.request_id!r}", "use the request_id of its receipt")
    try:
        ledger.record_feedback(
            feedback_id,
            request_id=opinion.request_id,
            kind=opinion.kind,
            correction=opinion.correction,
            comment=opinion.comment,
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
            "since": seat.since,
            "num_waiting": seat.batcher.num_waiting,
        }
    return about


# ---------------------------------------------------------------- as a process


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        PortTaken: somebody listens there already, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: with 0 asyncio does not know it for TCP and leaves Nagle's algorithm on, 40 ms a request.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as err:
        sock.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {err.strerror}", "choose another with --port") from err
    return sock


def serve(settings: Settings, *, port: int) -> None:
    """Run the gateway until it is told to stop; requests in flight are answered first."""
    import uvicorn

    app = create_app(settings)
    sock = listen(settings.host, port)
    log.info("gateway on http://%s:%d", settings.host, sock.getsockname()[1])
    # No access log: the metrics count, and paths alone tell nothing.
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=30)
    # uvicorn stops gracefully on the first SIGTERM, then raises it again for whoever was there before: a clean end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.Server(config).run(sockets=[sock])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.serving.app", description="The Banyan gateway.")
    parser.add_argument("--port", type=int, help="default: BANYAN_GATEWAY_PORT, or 8000; 0 takes a free one")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line a request to the registry, every second
    try:
        settings = load_settings()
        serve(settings, port=settings.gateway_port if given.port is None else given.port)
    except BanyanError as err:
        print(f"gateway: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    # As a package module, so that its classes exist once and not also as __main__'s.
    from components.serving.app import main as run

    sys.exit(run())
