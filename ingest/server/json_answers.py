"""JSON answers whose texts control no terminal, such as that of someone who calls curl."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from ingest.core import escape

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class JsonEscapeMiddleware:
    """ASGI middleware that escapes characters in JSON answers by JSON's own rules; the content stays the same."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; the head of a JSON answer waits for the body, whose length may change."""
        head: Message | None = None

        async def send_escaped(message: Message) -> None:
            nonlocal head
            if message["type"] == "http.response.start" and _is_json(message):
                head = message
                return
            if head is not None:
                # FastAPI sends JSON in one piece.
                body = escape.in_json(message.get("body", b"").decode()).encode()
                MutableHeaders(scope=head)["Content-Length"] = str(len(body))
                message = {**message, "body": body}
                await send(head)
                head = None
            await send(message)

        await self._app(scope, receive, send_escaped)


def _is_json(message: Message) -> bool:
    return MutableHeaders(scope=message).get("content-type", "").startswith("application/json")
