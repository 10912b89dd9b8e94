"""How much one request may send: a middleware that never holds more than that."""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 to a body of more than `max_bytes`, whether its length is announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._refusal = f"the request body is larger than {max_bytes:,} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._announced(scope) > self._max_bytes:
            await PlainTextResponse(self._refusal, status_code=413)(scope, receive, send)
        else:
            await self._app(scope, self._counting(receive), send)

    def _announced(self, scope: Scope) -> int:
        length = Headers(scope=scope).get("content-length", "0")
        return int(length)  # the HTTP parser lets nothing but digits through

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counting_receive() -> Message:
            nonlocal received
            try:
                message = await receive()
            except asyncio.CancelledError:  # the time to finish is over
                raise HTTPException(503, "the server ends, and the body is not complete") from None
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, self._refusal)
            return message

        return counting_receive
