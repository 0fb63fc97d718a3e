"""Who may ask, from where, and how much they may send: looked at before any route sees the request."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from ingest.server.request_parsing import body_limit, too_large
from ingest.server.responses import error_response

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_GUARDED = ("/v1/", "/metrics")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What is let in.

    `token` is asked of whoever asks `/v1/` and `/metrics`, where there is one. `hosts` are the names that a Host
    header may carry, all where empty: a page of the web whose name is made to lead to 127.0.0.1 has another one.
    `origins` are the pages of other origins that may ask; `max_picture` bounds an upload in bytes.
    """

    token: str
    hosts: frozenset[str]
    origins: frozenset[str]
    max_picture: int


def is_loopback(host: str) -> bool:
    """Tell whether only this very machine reaches an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class AccessGuard:
    """ASGI middleware that holds the rules, and puts headers for browsers on every answer."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    sent.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, self._bounded(headers, receive), send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._rules.hosts and _name(headers.get("host", "")) not in self._rules.hosts:
            return error_response(421, f"this service answers to {', '.join(sorted(self._rules.hosts))} alone")
        guarded = scope["path"].startswith(_GUARDED)
        if guarded and not self._is_from_here(headers):
            return error_response(403, "a page of another origin may not ask; allow it with --allow-origin")
        if guarded and not may_ask(self._rules, headers):
            return error_response(401, "the token is missing or wrong; send Authorization: Bearer TOKEN",
                          {"WWW-Authenticate": "Bearer"})  # fmt: skip
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > body_limit(_type(headers), self._rules.max_picture):
            return error_response(413, _too_much(headers, self._rules.max_picture), {"Connection": "close"})
        return None

    def _is_from_here(self, headers: Headers) -> bool:
        """Look at which page a browser says it asks for: `Origin`, and for plain pictures `Sec-Fetch-Site` alone."""
        origin = headers.get("origin")
        if origin is not None:  # of our own, the scheme is not compared: a proxy may speak TLS in front
            return origin in self._rules.origins or urlsplit(origin).netloc == headers.get("host")
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")

    def _bounded(self, headers: Headers, receive: Receive) -> Receive:
        """Count what arrives, for a body that does not say its length."""
        limit, read = body_limit(_type(headers), self._rules.max_picture), 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_much(headers, self._rules.max_picture))
            return message

        return counted


def may_ask(rules: AccessRules, headers: Headers) -> bool:
    """Tell whether a request carries the token, in a time that does not tell how much of it is right."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    told = token.strip().encode("utf-8", "replace")
    return not rules.token or (scheme.lower() == "bearer" and hmac.compare_digest(told, rules.token.encode()))


def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "") if "@" not in host else ""


def _type(headers: Headers) -> str:
    return headers.get("content-type", "").lower()


def _too_much(headers: Headers, max_picture: int) -> str:
    limit = body_limit(_type(headers), max_picture)
    return too_large(max_picture) if limit > max_picture else f"more than {limit:,} bytes of JSON; ask for less"
