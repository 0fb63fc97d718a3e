"""What an answer or an error of the network means: the reason it is told under, and words that hold no URL."""

from __future__ import annotations

import email.utils
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

from ingest.core.records import Reason
from ingest.images.file_type import HEAD, extension
from ingest.images.urls import DownloadError, TransientError, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def redirect_target(response: BaseHTTPResponse, url: str) -> str | None:
    """Return what a redirect names, None for every other answer; a redirect to nowhere is no redirect.

    Headers are bytes: servers write UTF-8 into them as it is. What is no UTF-8 stays as surrogates (PEP 383).
    """
    if response.status not in _REDIRECTS:
        return None
    named = set(response.headers.getlist("Location"))
    if len(named) > 1:
        raise DownloadError(Reason.BAD_ANSWER, f"{redact(url)}: the server redirects to several addresses at once")
    return named.pop().encode("latin-1").decode("utf-8", "surrogateescape") if named else None


def check_status(response: BaseHTTPResponse, url: str) -> None:
    """Raise DownloadError for every status but 200."""
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
        raise DownloadError(Reason.HTTP_4XX, f"{detail}; make the picture public or correct its URL")
    if status in _REDIRECTS:
        detail += " without saying where to"
    raise DownloadError(Reason.BAD_ANSWER, detail)


def retry_after(header: str | None) -> float:
    """Return the seconds that Retry-After asks for (RFC 9110, 10.2.3: seconds or a date), 0 for none."""
    if header is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", header.strip()):
        return float(header)
    try:
        seconds = (email.utils.parsedate_to_datetime(header).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return max(seconds, 0.0)


def failure(error: BaseException, url: str, *, late: bool, body: bool) -> TransientError:
    """Return what an error of the network means; `late` where the time was up, `body` while the body was read."""
    reason, words = (Reason.TIMEOUT, "took too long") if late else _meaning(error, body=body)
    return TransientError(reason, f"{redact(url)}: {words}; try again later")


def check_is_image(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """Pass a picture's body on; raise DownloadError at the first bytes of anything else."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD:
            break
    if not head:
        raise TransientError(Reason.TRUNCATED, f"{redact(url)}: the server sent an empty file")
    if extension(head) is None:
        raise DownloadError(
            Reason.NOT_AN_IMAGE, f"{redact(url)}: {_content(head)}; the URL must lead to the picture itself"
        )
    yield head
    yield from chunks


def _content(head: bytes) -> str:
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html", b"<head", b"<script", b"<!--")):
        return "the server sent a web page"
    if begin.startswith((b"<svg", b"<?xml")):
        return "the server sent SVG or XML, which is not a picture of pixels"
    return "what the server sent is not a picture of a known format"


_CUT_OFF = (Reason.TRUNCATED, "the picture came cut off")
# The first line whose class the error, or a cause of it, has; those of the body stand before.
_OF_BODY: tuple[tuple[Any, Reason, str], ...] = (
    (ReadTimeoutError, Reason.TIMEOUT, "the server took too long"),
    (TimeoutError, Reason.TIMEOUT, "the server took too long"),
    (DecodeError, Reason.BAD_ANSWER, "the server compressed the picture wrongly"),
    ((ProtocolError, ConnectionError, ssl.SSLEOFError), *_CUT_OFF),
)
_MEANINGS: tuple[tuple[Any, Reason, str], ...] = (
    (NameResolutionError, Reason.DNS, "the host's name is not known"),
    (NewConnectionError, Reason.CONNECT, "the connection failed"),  # a ConnectTimeoutError to urllib3
    ((ConnectTimeoutError, ReadTimeoutError, TimeoutError), Reason.TIMEOUT, "the server took too long"),
    (ssl.SSLCertVerificationError, Reason.TLS, "its certificate is not valid"),
    ((SSLError, ssl.SSLError), Reason.TLS, "no secure connection (TLS)"),
    (RemoteDisconnected, Reason.CONNECT, "the server closed the connection without an answer"),
    ((HTTPException, HeaderParsingError), Reason.BAD_ANSWER, "the server broke HTTP's rules"),
    (OSError, Reason.CONNECT, "the connection failed"),
    (ValueError, Reason.BAD_ANSWER, "the server broke HTTP's rules"),
)


def _meaning(error: BaseException, *, body: bool) -> tuple[Reason, str]:
    links = list(_chain(error))
    for kind, reason, words in (_OF_BODY if body else ()) + _MEANINGS:
        for link in links:
            if isinstance(link, kind):
                return reason, _said(link) or words
    return Reason.CONNECT, "the connection failed"


def _said(error: BaseException) -> str:
    """Return what the system says of it where that helps and holds nothing of the URL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
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
