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
