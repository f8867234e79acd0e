"""A bound on what a request may bring, before anything parses it."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: a request body of more than `max_bytes` is answered by `refuse` (413).

    Counts what arrives, so that a chunked body without a length, or with a false one, is bounded too.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, refuse: Callable[[Scope, Receive, Send], Awaitable[None]]
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages: list[Message] = []
        size = 0
        while True:  # bodies here are a few kilobytes: read whole, then handed on
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self.max_bytes:
                await self.refuse(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                break

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, replay, send)


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
