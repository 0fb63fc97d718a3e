"""What an HTTP response or a network error means: its reason, and a message without secrets."""

from __future__ import annotations

import email.utils
import itertools
import re
import ssl
from datetime import UTC, datetime
from http.client import HTTPException, RemoteDisconnected
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HeaderParsingError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from ingest.core.file_type import HEAD, extension
from ingest.core.records import Reason
from ingest.core.redaction import redact
from ingest.images.urls import DownloadError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def redirect_target(response: BaseHTTPResponse, url: str) -> str | None:
    """Return the Location of a redirect, None for any other response or without a Location.

    Headers are bytes, and servers put raw UTF-8 into them. Bytes that are not UTF-8 become surrogates (PEP 383).
    """
    if response.status not in _REDIRECTS:
        return None
    named = set(response.headers.getlist("Location"))
    if len(named) > 1:
        raise DownloadError(
            Reason.BAD_ANSWER, f"{redact(url)}: the server redirects to several addresses at once; try again later"
        )
    return named.pop().encode("latin-1").decode("utf-8", "surrogateescape") if named else None


def check_status(response: BaseHTTPResponse, url: str, note: str = "") -> None:
    """Raise DownloadError for every status except 200; the `note` is added if the server refuses access."""
    status = response.status
    if status == 200:
        return
    detail = f"{redact(url)}: the server answered {status}"
    if status in (425, 429, 503):
        reason = Reason.HTTP_5XX if status == 503 else Reason.HTTP_429
        raise TransientError(reason, detail, retry_after(response.headers.get("Retry-After")))
    if status == 408:
        raise TransientError(Reason.TIMEOUT, detail)
    if status >= 500:
        raise TransientError(Reason.HTTP_5XX, detail, retry_after(response.headers.get("Retry-After")))
    if status in (404, 410):
        raise DownloadError(Reason.NOT_FOUND, f"{detail}; correct the URL in the catalog")
    if 400 <= status < 500:
        fix = note if note and status in (401, 403) else "make the image public or correct its URL"
        raise DownloadError(Reason.HTTP_4XX, f"{detail}; {fix}")
    if status in _REDIRECTS:
        detail += " without a Location"
    raise DownloadError(Reason.BAD_ANSWER, detail)


def retry_after(header: str | None) -> float:
    """Return the seconds to wait for a Retry-After (RFC 9110, 10.2.3: seconds or a date), 0 if there is none."""
    if header is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", header.strip()):
        return float(header)
    try:
        seconds = (email.utils.parsedate_to_datetime(header).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return max(seconds, 0.0)


def network_error(error: BaseException, url: str, *, late: bool, body: bool) -> TransientError:
    """Return what a network error means: `late`, after the deadline; `body`, while the body was read."""
    reason, words = (Reason.TIMEOUT, "took too long") if late else _meaning(error, body=body)
    return TransientError(reason, f"{redact(url)}: {words}; try again later")


def identify(chunks: Iterator[bytes], url: str) -> tuple[str, Iterator[bytes]]:
    """Return the file type of an image's body, and all of its chunks; raise DownloadError if it is not an image."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD:
            break
    if not head:
        raise TransientError(Reason.TRUNCATED, f"{redact(url)}: the server sent an empty file; try again later")
    kind = extension(head)
    if kind is None:
        raise DownloadError(Reason.NOT_AN_IMAGE, f"{redact(url)}: {_describe(head)}; give the URL of the image itself")
    return kind, itertools.chain([head], chunks)


def _describe(head: bytes) -> str:
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html", b"<head", b"<script", b"<!--")):
        return "the server sent a web page"
    if begin.startswith((b"<svg", b"<?xml")):
        return "the server sent SVG or XML, which has no pixels"
    return "the server sent no image of a known format"


_CUT_OFF = (Reason.TRUNCATED, "the image was cut off")
# The first row counts whose class the error or one of its causes has. While the body is read, these come first.
_BODY_MEANINGS: tuple[tuple[Any, Reason, str], ...] = (
    (ReadTimeoutError, Reason.TIMEOUT, "the server took too long"),
    (TimeoutError, Reason.TIMEOUT, "the server took too long"),
    (DecodeError, Reason.BAD_ANSWER, "the server compressed the image incorrectly"),
    ((ProtocolError, ConnectionError, ssl.SSLEOFError), *_CUT_OFF),
)
_MEANINGS: tuple[tuple[Any, Reason, str], ...] = (
    (NameResolutionError, Reason.DNS, "the host name is unknown"),
    (NewConnectionError, Reason.CONNECT, "the connection failed"),  # before ConnectTimeoutError, its base class
    ((ConnectTimeoutError, ReadTimeoutError, TimeoutError), Reason.TIMEOUT, "the server took too long"),
    (ssl.SSLCertVerificationError, Reason.TLS, "its certificate is invalid"),
    ((SSLError, ssl.SSLError), Reason.TLS, "the TLS connection failed"),
    (RemoteDisconnected, Reason.CONNECT, "the server closed the connection without a response"),
    ((HTTPException, HeaderParsingError), Reason.BAD_ANSWER, "the server's response is not valid HTTP"),
    (OSError, Reason.CONNECT, "the connection failed"),
    (ValueError, Reason.BAD_ANSWER, "the server's response is not valid HTTP"),
)


def _meaning(error: BaseException, *, body: bool) -> tuple[Reason, str]:
    links = list(_chain(error))
    for kind, reason, words in (_BODY_MEANINGS if body else ()) + _MEANINGS:
        for link in links:
            if isinstance(link, kind):
                return reason, _system_message(link) or words
    return Reason.CONNECT, "the connection failed"


def _system_message(error: BaseException) -> str:
    """Return the system's own words for an error if they help and hold nothing of the URL, else ""."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is invalid ({error.verify_message})"
    if isinstance(error, NewConnectionError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | TimeoutError) and error.errno:
        return (error.strerror or "").lower()
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
