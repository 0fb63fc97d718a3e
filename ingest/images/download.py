"""The policy of one download: what is tried, how often, for how long, how much of it, and what is refused."""

from __future__ import annotations

import email.utils
import hashlib
import os
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin

import requests
import tenacity
from urllib3.exceptions import HTTPError, InvalidChunkLength, NameResolutionError, ProtocolError

from ingest.durable import writing_to
from ingest.images.sniff import HEAD, extension
from ingest.images.urls import DownloadError, TransientError, check, shown, unusable
from ingest.records import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHUNK = 65_536
_MAX_REDIRECTS = 5
_MAX_WAIT_S = 30.0  # a Retry-After beyond it is cut to it; the deadline bounds all waits together
_BUSY = frozenset({408, 425, 429})

_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=10)


@dataclass(frozen=True, slots=True)
class Download:
    """What came: the bytes' SHA-256 (32 bytes), size and kind, and the server's validators."""

    sha256: bytes
    size: int
    extension: str
    etag: str | None
    last_modified: str | None


def _user_agent() -> str:
    try:
        number = version("ingest")
    except PackageNotFoundError:
        number = "0"  # a checkout that is not installed
    return f"ingest/{number} (+product picture fetcher)"


@dataclass(frozen=True)
class Downloader:
    """Fetches pictures over HTTP from any number of threads; a context manager that closes all connections.

    Times are seconds. `deadline_s` bounds all tries for one picture together, waits included, and may be
    passed by one `read_s`; `max_bytes` counts the decompressed body. `sleep` waits between tries.
    """

    connect_s: float = 10.0
    read_s: float = 20.0
    deadline_s: float = 90.0
    tries: int = 3
    max_bytes: int = 20_000_000
    user_agent: str = field(default_factory=_user_agent)
    sleep: Callable[[float], None] = time.sleep
    _local: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)
    _sessions: list[requests.Session] = field(default_factory=list, init=False, repr=False, compare=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of every thread; a later fetch opens new ones."""
        for session in self._sessions:
            session.close()

    def fetch(self, url: str, path: Path) -> Download:
        """Fetch `url` into a file at `path`, fsynced.

        Raises DownloadError after the last try, StorageError where the file cannot be written; what is at
        `path` then is of no use.
        """
        ends = time.monotonic() + self.deadline_s
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self.tries) | tenacity.stop_before_delay(self.deadline_s),
            wait=_wait,
            sleep=self.sleep,
            reraise=True,
        )
        return retrying(self._try, url, path, ends)

    def _try(self, url: str, path: Path, ends: float) -> Download:
        response = self._open(url, ends)
        try:
            _check_status(response, url)
            return self._save(response, url, path, ends)
        finally:
            response.close()

    def _open(self, url: str, ends: float) -> requests.Response:
        """Follow redirects one by one: each target is checked, and no redirect's body is read."""
        target = url
        for _ in range(_MAX_REDIRECTS + 1):
            check(target)
            response = self._get(target, ends)
            location = self._session.get_redirect_target(response)
            if location is None:
                return response
            response.close()
            target = _joined(target, location)
        raise DownloadError(Reason.UNREACHABLE, f"{shown(url)}: more than {_MAX_REDIRECTS} redirects")

    def _get(self, url: str, ends: float) -> requests.Response:
        left = _left(url, ends)
        session = self._session
        try:
            request = session.prepare_request(requests.Request("GET", url))
            settings: Any = session.merge_environment_settings(request.url or url, {}, True, None, None)  # noqa: FBT003
            # Not session.send: it keeps cookies, and reads a redirect's body to its end if it has one.
            adapter = session.get_adapter(request.url or url)
            timeout = (min(self.connect_s, left), min(self.read_s, left))
            return adapter.send(request, timeout=timeout, **settings)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
            raise unusable(url) from error
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise TransientError(Reason.UNREACHABLE, f"{shown(url)}: {_cause(error)}") from error

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = self.user_agent
            session.headers["Accept"] = "image/*,*/*;q=0.5"
            # A picture is compressed already; what a server compresses all the same is still understood.
            session.headers["Accept-Encoding"] = "identity"
            self._local.session = session
            self._sessions.append(session)
        return session

    def _save(self, response: requests.Response, url: str, path: Path, ends: float) -> Download:
        declared = response.headers.get("Content-Length", "")
        if re.fullmatch(r"[0-9]+", declared) and int(declared) > self.max_bytes:
            raise self._too_large(url)
        digest = hashlib.sha256()
        size = 0
        with writing_to(path), path.open("wb") as file:
            for chunk in _sniffed(_chunks(response, url, ends), url):
                size += len(chunk)
                if size > self.max_bytes:
                    raise self._too_large(url)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        with writing_to(path), path.open("rb") as file:
            kind = extension(file.read(HEAD))
        assert kind is not None, "_sniffed has let it pass"
        headers = response.headers
        return Download(digest.digest(), size, kind, headers.get("ETag"), headers.get("Last-Modified"))

    def _too_large(self, url: str) -> DownloadError:
        limit = f"{self.max_bytes / 1e6:g} MB"
        return DownloadError(Reason.TOO_LARGE, f"{shown(url)}: larger than {limit}; put a smaller picture there")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise unusable(url) from None


def _left(url: str, ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise DownloadError(Reason.UNREACHABLE, f"{shown(url)}: took too long; try again later")
    return left


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status == requests.codes.ok:
        return
    detail = f"{shown(url)}: the server answered {status}"
    if status in _BUSY or status >= 500:
        raise TransientError(Reason.UNREACHABLE, detail, _retry_after(response.headers.get("Retry-After")))
    if status in (404, 410):
        raise DownloadError(Reason.NOT_FOUND, f"{detail}; correct the URL in the catalog")
    if 400 <= status < 500:
        raise DownloadError(Reason.REFUSED, f"{detail}; make the picture public or correct its URL")
    raise DownloadError(Reason.UNREACHABLE, detail)


def _retry_after(header: str | None) -> float:
    """Return the seconds that Retry-After asks for (RFC 9110, 10.2.3: seconds or a date), 0 for none."""
    if header is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", header.strip()):
        return min(float(header), _MAX_WAIT_S)
    try:
        seconds = (email.utils.parsedate_to_datetime(header).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), _MAX_WAIT_S)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.wait_s if isinstance(error, TransientError) else 0.0
    return max(asked, _backoff(state))


def _sniffed(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """Pass a picture's body on; raise DownloadError at the first bytes of anything else."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD:
            break
    if not head:
        raise TransientError(Reason.TRUNCATED, f"{shown(url)}: the server sent an empty file")
    if extension(head) is None:
        raise DownloadError(
            Reason.NOT_AN_IMAGE, f"{shown(url)}: {_content(head)}; the URL must lead to the picture itself"
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


def _chunks(response: requests.Response, url: str, ends: float) -> Iterator[bytes]:
    """Yield the decoded body as it comes; raise DownloadError where it does not come whole or in time."""
    while True:
        _left(url, ends)
        try:
            # read1 returns with what has come, so that a server which drips bytes meets the deadline.
            chunk: bytes = response.raw.read1(_CHUNK, decode_content=True)
        except (ProtocolError, InvalidChunkLength) as error:
            raise TransientError(Reason.TRUNCATED, f"{shown(url)}: the picture came cut off") from error
        except (HTTPError, OSError, ValueError) as error:
            raise TransientError(Reason.UNREACHABLE, f"{shown(url)}: {_cause(error)}") from error
        if not chunk:
            return
        yield chunk


def _cause(error: BaseException) -> str:
    """Say what went wrong in words that cannot hold the URL, which those of requests and urllib3 do."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, NameResolutionError):
            return "the host's name is not known"
        if isinstance(link, requests.Timeout | TimeoutError):
            return "the server took too long"
        if isinstance(link, requests.exceptions.SSLError):
            return "no secure connection (TLS)"
        if isinstance(link, OSError) and link.errno and link.strerror:
            return link.strerror.lower()
        link = link.__cause__ or link.__context__
    return "the connection failed"
