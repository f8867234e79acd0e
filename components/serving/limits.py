"""A bound on what a request may bring, before anything parses it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Refuse = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyLimit:
    """ASGI middleware: a request body of more than `max_bytes` is answered by `refuse_large` (413), one that is not
    whole within `seconds` by `refuse_slow` (408).

    Counts what arrives, so that a chunked body without a length, or with a false one, is bounded too.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, seconds: float, refuse_large: Refuse, refuse_slow: Refuse
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds
        self.refuse_large = refuse_large
        self.refuse_slow = refuse_slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages: list[Message] = []
        try:
            async with asyncio.timeout(self.seconds):  # a sender that dribbles would hold its connection for good
                is_taken = await self._read(receive, messages)
        except TimeoutError:
            await self.refuse_slow(scope, receive, send)
            return
        if not is_taken:
            await self.refuse_large(scope, receive, send)
            return

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, replay, send)

    async def _read(self, receive: Receive, messages: list[Message]) -> bool:
        size = 0
        while size <= self.max_bytes:  # bodies here are a few kilobytes: read whole, then handed on
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        return size <= self.max_bytes


class KnownHosts:
    """ASGI middleware: Starlette's check of the `Host` header, which tells of whom it turns away (400)."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], refused: Callable[[Scope], None]) -> None:
        self.app = app
        self.hosts = hosts
        self.refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_known = False

        async def inside(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal is_known
            is_known = True
            await self.app(scope, receive, send)

        await TrustedHostMiddleware(inside, allowed_hosts=self.hosts)(scope, receive, send)
        if not is_known:
            self.refused(scope)


class Allowance:
    """Requests a minute, as a bucket that fills steadily: a quiet minute may be spent at once (a token bucket)."""

    def __init__(self, requests_per_minute: int, clock: Callable[[], float]) -> None:
        self._most = float(requests_per_minute)
        self._clock = clock
        self._left = self._most
        self._at = clock()

    def take(self) -> float:
        """0 for a request that may pass; else after how many seconds the next one may."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._most / 60)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) * 60 / self._most
