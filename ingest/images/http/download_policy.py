"""Downloads of images: retries, timeouts, size limits, redirects and headers."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote_to_bytes

import tenacity
import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, LocationValueError

from ingest.core.records import Reason
from ingest.images.file_type import HEAD, extension
from ingest.images.http import responses
from ingest.images.http.addresses import AddressPolicy
from ingest.images.http.connections import ConnectionPools
from ingest.images.http.deadlines import Deadlines
from ingest.images.http.headers import HostHeaders
from ingest.images.http.throttle import HostThrottle
from ingest.images.urls import DownloadError, TransientError, redact, unusable_url
from ingest.images.whatwg_url import Url, parse
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from urllib3 import BaseHTTPResponse

_CHUNK = 65_536
_MAX_REDIRECTS = 5
_CONDITIONS = frozenset({"If-None-Match", "If-Modified-Since"})

_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=10)


@dataclass(frozen=True, slots=True)
class Download:
    """A file that was downloaded: SHA-256 (32 bytes), size in bytes, file type, and the server's validators."""

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
class DownloadPolicy:
    """How images are fetched: timeouts, tries and limits.

    `deadline_s` bounds all tries for one image together, waits included; `read_s` bounds one wait for a byte.
    `max_bytes` limits the decompressed body. At most `at_once` connections go to one host.
    """

    connect_s: float = 10.0
    read_s: float = 20.0
    deadline_s: float = 90.0
    tries: int = 3
    max_bytes: int = 20_000_000
    at_once: int = 8
    user_agent: str = field(default_factory=_user_agent)
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    host_headers: HostHeaders = field(default_factory=HostHeaders)


class Downloader:
    """Fetches images over HTTP, for any number of threads; a context manager that closes all connections.

    `sleep` is called for each wait between tries.
    """

    def __init__(self, policy: DownloadPolicy, sleep: Callable[[float], None] = time.sleep) -> None:
        self.policy = policy
        self.sleep = sleep
        self._hosts = HostThrottle(policy.at_once, sleep)
        self._deadlines = Deadlines()
        self._pools = ConnectionPools(policy.addresses, self._deadlines, policy.at_once)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(policy.tries) | tenacity.stop_before_delay(policy.deadline_s),
            wait=_wait,
            sleep=sleep,
            reraise=True,
        )
        self._headers = {
            "User-Agent": policy.user_agent,
            "Accept": "image/*,*/*;q=0.5",
            # Images are compressed already. A response that is compressed anyway is decompressed.
            "Accept-Encoding": "identity",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the policy alone: another process opens its own connections."""
        return Downloader, (self.policy, self.sleep)

    def close(self) -> None:
        """Close all connections."""
        self._pools.clear()
        self._deadlines.close()

    def fetch(self, url: str, path: Path, etag: str | None = None, last_modified: str | None = None) -> Download | None:
        """Fetch `url` into an fsynced file at `path`; return None if it has not changed since those validators.

        Raises DownloadError after the last try, and StorageError if the file cannot be written; the file at `path` is
        then incomplete.
        """
        ends = time.monotonic() + self.policy.deadline_s
        validators = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        conditions = {name: value for name, value in validators.items() if value is not None}
        return self._retrying(self._try, url, path, ends, conditions)

    def _try(self, url: str, path: Path, ends: float, conditions: dict[str, str]) -> Download | None:
        """Follow redirects one by one: each target is checked, and gets no secrets of another host."""
        source = target = parse(url)
        with self._deadlines.until(ends):
            for _ in range(_MAX_REDIRECTS + 1):
                with self._hosts.slot(target.host, ends):
                    got = self._request(url, target, self._headers_for(source, target) | conditions, path, ends)
                if not isinstance(got, Url):
                    return got
                target = got
        raise DownloadError(Reason.BAD_ANSWER, f"{redact(url)}: more than {_MAX_REDIRECTS} redirects")

    def _request(
        self, url: str, target: Url, headers: dict[str, str], path: Path, ends: float
    ) -> Download | Url | None:
        """Request one URL; return the download, None if it has not changed, or the target of a redirect."""
        response = self._get(url, target, headers, ends)
        try:
            if (location := responses.redirect_target(response, url)) is not None:
                _drain(response)
                return parse(location, target)
            if response.status == 304 and _CONDITIONS & headers.keys():
                return None
            responses.check_status(response, url)
            return self._save(response, url, path, ends)
        except TransientError as error:
            if error.wait_s:
                self._hosts.pause(target.host, error.wait_s)
            raise
        except DownloadError as error:
            if error.reason in (Reason.NOT_FOUND, Reason.HTTP_4XX):
                _drain(response)
            raise
        finally:
            response.close()

    def _headers_for(self, source: Url, target: Url) -> dict[str, str]:
        """Return the headers for `target`; secrets only if the redirects have not left the origin of `source`."""
        headers = dict(self._headers)
        if source.origin == target.origin:
            headers |= self.policy.host_headers.get(target.host)
            if target.userinfo and "Authorization" not in headers:
                secret = base64.b64encode(unquote_to_bytes(target.userinfo)).decode()
                headers["Authorization"] = f"Basic {secret}"
        return headers

    def _get(self, url: str, target: Url, headers: dict[str, str], ends: float) -> BaseHTTPResponse:
        name = url if parse(url) == target else str(target)
        left = _time_left(name, ends)
        timeout = urllib3.Timeout(connect=min(self.policy.connect_s, left), read=min(self.policy.read_s, left))
        try:
            pool = self._pools.connection_from_host(target.host, target.port, target.scheme)
            return pool.urlopen(
                "GET",
                "/",
                target=target.target,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                timeout=timeout,
            )
        except (LocationParseError, LocationValueError, UnicodeError) as error:
            raise unusable_url(name) from error
        except (HTTPError, OSError, ValueError) as error:
            raise responses.network_error(error, name, late=time.monotonic() >= ends, body=False) from error

    def _save(self, response: BaseHTTPResponse, url: str, path: Path, ends: float) -> Download:
        limit = self.policy.max_bytes
        declared = response.headers.get("Content-Length", "")
        if re.fullmatch(r"[0-9]+", declared) and int(declared[:20]) > limit:
            raise _too_large(url, limit)
        digest = hashlib.sha256()
        size = 0
        kind = None
        with storage_errors(path), path.open("wb", buffering=0) as file:
            for chunk in responses.check_is_image(_chunks(response, url, ends), url):
                kind = kind or extension(chunk[:HEAD])
                size += len(chunk)
                if size > limit:
                    raise _too_large(url, limit)
                digest.update(chunk)
                if file.write(chunk) != len(chunk):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        assert kind is not None, "check_is_image has let it pass"
        headers = response.headers
        return Download(digest.digest(), size, kind, headers.get("ETag"), headers.get("Last-Modified"))


def _too_large(url: str, limit: int) -> DownloadError:
    detail = f"{redact(url)}: larger than {limit / 1e6:g} MB; provide a smaller image, or raise --max-image-bytes"
    return DownloadError(Reason.TOO_LARGE, detail)


def _time_left(url: str, ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise DownloadError(Reason.TIMEOUT, f"{redact(url)}: took too long; try again later")
    return left


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.wait_s if isinstance(error, TransientError) else 0.0
    return max(asked, _backoff(state))


def _drain(response: BaseHTTPResponse) -> None:
    """Read a short body to its end, so that the connection can be reused."""
    length = response.headers.get("Content-Length", "")
    if re.fullmatch(r"[0-9]{1,5}", length):
        try:
            response.read(decode_content=False)
        except (HTTPError, OSError, ValueError):
            response.close()


def _chunks(response: BaseHTTPResponse, url: str, ends: float) -> Iterator[bytes]:
    """Yield the decompressed body in chunks; raise DownloadError if it is incomplete or late."""
    while True:
        _time_left(url, ends)
        try:
            # read1 returns what has arrived, so that one chunk bounds the memory.
            chunk = response.read1(_CHUNK, decode_content=True)
        except (HTTPError, OSError, ValueError) as error:
            raise responses.network_error(error, url, late=time.monotonic() >= ends, body=True) from error
        if not chunk:
            return
        yield chunk
