"""Answers that come piece by piece, and clients that leave before their end."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from components.serving.problems import ClientLeft

STALL_SECONDS = 60.0
"""How long a client may read nothing before it counts as gone. Until then it holds its answer's text, and nobody up."""
DONE = b"data: [DONE]\n\n"

T = TypeVar("T")


def event(content: Mapping[str, Any]) -> bytes:
    """One server-sent event (HTML standard, section 9.2)."""
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


class EventStream(Response):
    """Sends events as they come; calls `on_leave` when the client goes, or stops reading, before their end."""

    def __init__(
        self, events: AsyncIterator[bytes], *, on_leave: Callable[[], None], stall_seconds: float = STALL_SECONDS
    ) -> None:
        self._events = events
        self._on_leave = on_leave
        self._stall_seconds = stall_seconds
        super().__init__(None, media_type="text/event-stream")

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # a proxy that gathers the whole answer first would undo the stream
        ]
        # A task and a wait for each event cost more than the rest of it: the one that hears the client leave
        # interrupts this one instead.
        sending = asyncio.current_task()
        assert sending is not None
        is_over, is_whole = False, False

        def interrupt(heard: "asyncio.Task[None]") -> None:
            if not heard.cancelled() and not is_over:
                sending.cancel()

        leaving = asyncio.create_task(_gone(receive))
        leaving.add_done_callback(interrupt)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for one in self._events:
                async with asyncio.timeout(self._stall_seconds):
                    await send({"type": "http.response.body", "body": one, "more_body": True})
            is_whole = True
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not leaving.done():
                raise  # somebody else's
            sending.uncancel()
        except (TimeoutError, OSError):
            pass  # nobody is there to be told
        finally:
            is_over = True
            leaving.cancel()
            if not is_whole:
                self._on_leave()


async def unless_gone(request: Request, awaitable: Awaitable[T]) -> T:
    """What `awaitable` gives, which is cancelled when the client leaves first.

    Raises:
        ClientLeft: the client has left.
    """
    leaving = asyncio.create_task(_gone(request.receive))
    try:
        return await _unless(leaving, awaitable)
    finally:
        leaving.cancel()


async def _unless(leaving: "asyncio.Task[None]", awaitable: Awaitable[T]) -> T:
    coming = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            raise ClientLeft
        return coming.result()
    finally:
        coming.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
