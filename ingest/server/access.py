"""Access control before any route sees a request: host, origin, token and size."""

from __future__ import annotations

import hmac
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from ingest.core.errors import ConfigError
from ingest.server.request_parsing import body_limit, too_large
from ingest.server.responses import error_response

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BLANK = b" \t"
_GUARDED = ("/v1/", "/metrics")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Which requests are answered.

    `token`, unless empty, must be sent with requests to `/v1/` and `/metrics`. `hosts` are the names that a Host header
    may have, any if empty: this stops a web page whose own name resolves to 127.0.0.1 (DNS rebinding). `origins` are
    the other origins whose pages may send requests. `max_image_bytes` limits an upload.
    """

    token: str
    hosts: frozenset[str]
    origins: frozenset[str]
    max_image_bytes: int


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class AccessGuard:
    """ASGI middleware that applies the rules, and adds security headers to every answer."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    sent.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        if scope["method"] == "HEAD":  # routes of FastAPI answer GET alone; the server leaves out the body
            scope = {**scope, "method": "GET"}
        await self._app(scope, self._limit_body(headers, receive), send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._rules.hosts and _name(headers.get("host", "")) not in self._rules.hosts:
            return error_response(421, f"this service answers only to {', '.join(sorted(self._rules.hosts))}")
        guarded = scope["path"].startswith(_GUARDED)
        if guarded and not self._has_allowed_origin(headers):
            return error_response(403, "pages of this origin are not allowed; allow them with --allow-origin")
        if guarded and not has_token(self._rules, headers):
            return error_response(401, "the token is missing or wrong; send Authorization: Bearer TOKEN",
                          {"WWW-Authenticate": "Bearer"})  # fmt: skip
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > body_limit(_content_type(headers), self._rules.max_image_bytes):
            return error_response(413, _too_large(headers, self._rules.max_image_bytes), {"Connection": "close"})
        return None

    def _has_allowed_origin(self, headers: Headers) -> bool:
        """Check which page a browser sends the request for: `Origin`; for plain images only `Sec-Fetch-Site`."""
        origin = headers.get("origin")
        if origin is not None:  # the scheme of our own origin is not compared: a proxy in front may speak TLS
            return origin in self._rules.origins or urlsplit(origin).netloc == headers.get("host")
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")

    def _limit_body(self, headers: Headers, receive: Receive) -> Receive:
        """Count the bytes received, because a body may not declare its length."""
        limit, read = body_limit(_content_type(headers), self._rules.max_image_bytes), 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                reason = _too_large(headers, self._rules.max_image_bytes)
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
            return message

        return counted


def has_token(rules: AccessRules, headers: Headers) -> bool:
    """Tell whether a request carries the token, in constant time; always True if none is required.

    Header values are bytes: curl sends the terminal's UTF-8, browsers and most libraries Latin-1 where it has the
    letters. Both are accepted.
    """
    if not rules.token:
        return True
    scheme, _, token = headers.get("authorization", "").encode("latin-1").partition(b" ")
    sent = token.strip(_BLANK)
    matches = [hmac.compare_digest(sent, one) for one in _encodings(rules.token)]
    return scheme.lower() == b"bearer" and any(matches)


def check_token(token: str) -> None:
    """Raise ConfigError for a token that no request can carry."""
    for encoded in _encodings(token):
        if encoded.strip(_BLANK) != encoded:
            raise ConfigError("--serve-token: begins or ends with a space, which HTTP removes; choose another token")
        if any(byte < 0x20 or byte == 0x7F for byte in encoded):
            raise ConfigError(
                "--serve-token: contains a line break or another control character, which no header can carry; choose "
                "another token"
            )


def _encodings(token: str) -> list[bytes]:
    """Return the bytes that a client may send for a token; one from the environment may hold bytes that are no text."""
    encoded = [token.encode("utf-8", "surrogateescape")]
    with suppress(UnicodeEncodeError):
        encoded.append(token.encode("latin-1"))
    return encoded


def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "") if "@" not in host else ""


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "").lower()


def _too_large(headers: Headers, max_image_bytes: int) -> str:
    limit = body_limit(_content_type(headers), max_image_bytes)
    return too_large(max_image_bytes) if limit > max_image_bytes else f"more than {limit:,} bytes of JSON; send less"
