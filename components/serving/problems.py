"""What goes wrong, as HTTP: one shape, `{"error": {"code", "message", "remedy"}}`, and never what a person typed."""

import json
import logging
import math
import traceback
from collections.abc import Callable
from queue import Full
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.errors import BanyanError, GatewayUnavailable, LedgerError, NoChampion
from components.serving.auth import NotAllowed, NotAuthorised, TooFast, route_of

log = logging.getLogger("banyan.gateway")


class TooLarge(Exception):
    """More than the gateway takes; answered with 413."""


class NotFound(Exception):
    """An id that nothing has; answered with 404."""


class Conflict(Exception):
    """An id that stands for something else already; answered with 409."""


class ClientLeft(Exception):
    """Whoever asked is gone; nobody reads the 499 that this becomes."""


class Unprocessable(Exception):
    """Well-formed, but impossible; answered with 422."""


def problem(status: int, code: str, message: str, remedy: str = "", **headers: str) -> JSONResponse:
    content = {"error": {"code": code, "message": message, "remedy": remedy}}
    return JSONResponse(content, status, {name.replace("_", "-"): value for name, value in headers.items()})


def too_large(max_bytes: int) -> JSONResponse:
    return problem(413, "too_large", f"the request is larger than {max_bytes} bytes", "send a shorter text")


def too_slow(seconds: float) -> JSONResponse:
    message = f"the request was not whole within {seconds:.0f} s"
    return problem(408, "too_slow", message, "send it faster, or less of it", Connection="close")


def as_error(err: Exception) -> dict[str, Any]:
    """The body of an error that comes after the status was sent."""
    response = _ours(err) if isinstance(err, BanyanError) else None
    if response is None:
        log.error("%s at %s", type(err).__name__, place(err))
        response = problem(500, "internal", "the gateway failed on this request", "see the gateway's log")
    content: dict[str, Any] = json.loads(bytes(response.body))
    return content


def is_ours(err: Exception) -> bool:
    """Whether a request failed by a fault of the gateway's (500 and up), and not of whoever asked."""
    if isinstance(err, BanyanError):
        return _status(err) >= 500
    asked = (RequestValidationError, HTTPException, NotAuthorised, NotAllowed, TooFast, ClientLeft, TooLarge)
    return not isinstance(err, (*asked, NotFound, Conflict, Unprocessable))


def install(app: FastAPI, refused: Callable[[str, str, str], None]) -> None:
    """Register the handlers; `refused` hears method, route and reason of what was too much."""

    def told(reason: str, handler: Callable[[Request, Exception], JSONResponse]) -> Callable[..., JSONResponse]:
        def answer(request: Request, err: Exception) -> JSONResponse:
            refused(request.method, route_of(request), reason)
            return handler(request, err)

        return answer

    for kind, handler in (
        (RequestValidationError, _invalid),
        (HTTPException, _http),
        (BanyanError, _answer_ours),
        (Full, told("busy", _full)),
        (NotAuthorised, _not_authorised),
        (NotAllowed, _plain(403, "not_allowed")),
        (TooFast, _too_fast),
        (ClientLeft, _plain(499, "client_left")),
        (TooLarge, told("too large", _plain(413, "too_large"))),
        (NotFound, _plain(404, "not_found")),
        (Conflict, _plain(409, "conflict")),
        (Unprocessable, _plain(422, "invalid")),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]


class LastResort:
    """ASGI middleware: an error that nobody foresaw is answered with 500 and logged by place, not by content.

    Starlette's own would log the message, and an engine's message may quote the input.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as err:  # blanket: the edge
            if scope["type"] != "http" or started:
                raise
            log.error("%s %s: %s at %s", scope["method"], scope["path"], type(err).__name__, place(err))
            await problem(500, "internal", "the gateway failed on this request", "see the gateway's log")(
                scope, receive, send
            )


def place(err: BaseException) -> str:
    """`file:line` of the frame that raised."""
    frames = traceback.extract_tb(err.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"


def _invalid(_: Request, err: RequestValidationError) -> JSONResponse:
    # The default handler echoes the input; names of fields and reasons are enough.
    lines = [f"{'.'.join(str(part) for part in e['loc'][1:]) or 'body'}: {e['msg']}" for e in err.errors()]
    return problem(422, "invalid", "; ".join(lines), "GET /docs shows what each request looks like")


def _http(_: Request, err: HTTPException) -> JSONResponse:
    return problem(err.status_code, "http", str(err.detail), "GET /docs lists what there is")


def _full(_: Request, _err: Exception) -> JSONResponse:
    return problem(429, "busy", "too many requests wait already", "try again in a second", Retry_After="1")


def _too_fast(_: Request, err: TooFast) -> JSONResponse:
    wait = math.ceil(err.args[0])
    message = "this key asks faster than it may"
    return problem(429, "too_fast", message, f"try again in {wait} s", Retry_After=str(wait))


def _not_authorised(_: Request, _err: NotAuthorised) -> JSONResponse:
    return problem(
        401, "not_authorised", "a key is needed", "send Authorization: Bearer <key>", WWW_Authenticate="Bearer"
    )


def _answer_ours(_: Request, err: BanyanError) -> JSONResponse:
    return _ours(err)


def _status(err: BanyanError) -> int:
    return 404 if isinstance(err, NoChampion) else 503 if isinstance(err, GatewayUnavailable | LedgerError) else 500


def _ours(err: BanyanError) -> JSONResponse:
    if isinstance(err, NoChampion):
        return problem(_status(err), "no_champion", err.message, err.remedy)
    if isinstance(err, GatewayUnavailable):
        return problem(_status(err), "unavailable", err.message, err.remedy, Retry_After="2")
    if isinstance(err, LedgerError):
        log.error("ledger: %s", type(err).__name__)
        return problem(
            _status(err), "ledger", "the ledger did not take it, so it is not said", "try again", Retry_After="2"
        )
    log.error("%s at %s", type(err).__name__, place(err))
    return problem(_status(err), "internal", "the gateway failed on this request", "see the gateway's log")


def _plain(status: int, code: str) -> Callable[[Request, Exception], JSONResponse]:
    def handler(_: Request, err: Exception) -> JSONResponse:
        message, remedy = (*err.args, "", "")[:2]
        return problem(status, code, message, remedy)

    return handler
