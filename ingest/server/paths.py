"""Paths as the routes match them: an encoded slash is part of an id, a plain one separates segments."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def routing_path(raw_path: bytes) -> str:
    """Return a path with each segment decoded, except that `%` and `/` inside a segment stay encoded.

    So `a%2Fsimilar` is one segment, and `%73imilar` is `similar`. Raises UnicodeDecodeError if it is not UTF-8.
    """
    segments = (unquote_to_bytes(segment).decode() for segment in raw_path.split(b"/"))
    return "/".join(segment.replace("%", "%25").replace("/", "%2F") for segment in segments)


def decode(part: str) -> str:
    """Return what a part of such a path stands for."""
    return part.replace("%2F", "/").replace("%25", "%")


class SegmentedPaths:
    """ASGI middleware that lets the access rules and the routes match segmented paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its path segmented."""
        if scope["type"] == "http" and scope.get("raw_path"):
            try:
                path = routing_path(scope["raw_path"])
            except UnicodeDecodeError:
                path = ""  # which no route has
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)
