"""Downloads images over HTTP: requests, redirects, and the body to a file."""

from __future__ import annotations

import base64
import errno
import hashlib
import logging
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote_to_bytes

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, LocationValueError

from ingest.core.records import Reason
from ingest.core.redaction import redact
from ingest.images.http import responses
from ingest.images.http.connections import ConnectionPools
from ingest.images.http.cookies import ChainCookies
from ingest.images.http.deadlines import Deadlines
from ingest.images.http.throttle import HostThrottle
from ingest.images.urls import DownloadError, TransientError, unusable_url
from ingest.images.whatwg_url import Url, parse
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from urllib3 import BaseHTTPResponse

    from ingest.images.http.download_policy import DownloadPolicy

log = logging.getLogger(__name__)

_CHUNK = 65_536
_MAX_REDIRECTS = 5
_CONDITIONS = frozenset({"If-None-Match", "If-Modified-Since"})


@dataclass(frozen=True, slots=True)
class Download:
    """A file that was downloaded: SHA-256 (32 bytes), size in bytes, file type, and the server's validators."""

    sha256: bytes
    size: int
    extension: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class _Task:
    """What to fetch, to which file, until when by `time.monotonic()`, and the headers that make it conditional."""

    url: str
    path: Path
    ends: float
    conditions: dict[str, str]

    def time_left(self) -> float:
        """Return the seconds left; raise DownloadError if there are none."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise DownloadError(Reason.TIMEOUT, f"{redact(self.url)}: took too long; try again later")
        return left

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.ends


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
        self._retrying = policy.retrying(sleep)
        self._warned: set[str] = set()
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
        validators = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        conditions = {name: value for name, value in validators.items() if value is not None}
        return self._retrying(self._try, _Task(url, path, time.monotonic() + self.policy.deadline_s, conditions))

    def _try(self, task: _Task) -> Download | None:
        """Follow redirects one by one: each target is checked, and gets no secrets of another host."""
        source = target = parse(task.url)
        self._warn_of_withheld(source)
        cookies = ChainCookies()
        with self._deadlines.until(task.ends):
            for _ in range(_MAX_REDIRECTS + 1):
                with self._hosts.slot(target.host, task.ends):
                    headers = cookies.add_to(self._headers_for(source, target), target) | task.conditions
                    result = self._request(task, target, headers, cookies)
                if not isinstance(result, Url):
                    return result
                target = result
        raise DownloadError(Reason.BAD_ANSWER, f"{redact(task.url)}: more than {_MAX_REDIRECTS} redirects")

    def _request(
        self, task: _Task, target: Url, headers: dict[str, str], cookies: ChainCookies
    ) -> Download | Url | None:
        """Request one URL; return the download, None if it has not changed, or the target of a redirect."""
        response = self._get(task, target, headers)
        cookies.keep(target, response)
        try:
            if (location := responses.redirect_target(response, task.url)) is not None:
                _drain(response)
                return parse(location, target)
            if response.status == 304 and _CONDITIONS & headers.keys():
                return None
            responses.check_status(response, task.url, self.policy.host_headers.withheld(parse(task.url)))
            return self._save(task, response)
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
            headers |= self.policy.host_headers.get(target)
            if target.userinfo and "Authorization" not in headers:
                secret = base64.b64encode(unquote_to_bytes(target.userinfo)).decode()
                headers["Authorization"] = f"Basic {secret}"
        return headers

    def _warn_of_withheld(self, url: Url) -> None:
        """Log, once for each origin, that a host's headers are not for this scheme or port."""
        said = self.policy.host_headers.withheld(url)
        if said and said not in self._warned:
            self._warned.add(said)
            log.warning("%s", said)

    def _get(self, task: _Task, target: Url, headers: dict[str, str]) -> BaseHTTPResponse:
        left = task.time_left()
        timeout = urllib3.Timeout(connect=min(self.policy.connect_s, left), read=min(self.policy.read_s, left))
        shown = task.url if parse(task.url) == target else str(target)
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
            raise unusable_url(shown) from error
        except (HTTPError, OSError, ValueError) as error:
            raise responses.network_error(error, shown, late=task.is_late, body=False) from error

    def _save(self, task: _Task, response: BaseHTTPResponse) -> Download:
        max_bytes = self.policy.max_bytes
        declared = response.headers.get("Content-Length", "")
        if re.fullmatch(r"[0-9]+", declared) and int(declared[:20]) > max_bytes:
            raise _too_large(task.url, max_bytes)
        kind, chunks = responses.identify(_chunks(task, response), task.url)
        digest = hashlib.sha256()
        size = 0
        with storage_errors(task.path), task.path.open("wb", buffering=0) as file:
            for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(task.url, max_bytes)
                digest.update(chunk)
                if file.write(chunk) != len(chunk):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        headers = response.headers
        return Download(digest.digest(), size, kind, headers.get("ETag"), headers.get("Last-Modified"))


def _too_large(url: str, max_bytes: int) -> DownloadError:
    limit = f"{max_bytes / 1e6:g} MB"
    detail = f"{redact(url)}: larger than {limit}; provide a smaller image, or raise --max-image-bytes"
    return DownloadError(Reason.TOO_LARGE, detail)


def _drain(response: BaseHTTPResponse) -> None:
    """Read a short body to its end, so that the connection can be reused."""
    length = response.headers.get("Content-Length", "")
    if re.fullmatch(r"[0-9]{1,5}", length):
        try:
            response.read(decode_content=False)
        except (HTTPError, OSError, ValueError):
            response.close()


def _chunks(task: _Task, response: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the decompressed body in chunks; raise DownloadError if it is incomplete or late."""
    while True:
        task.time_left()
        try:
            # read1 returns what has arrived, so that one chunk bounds the memory.
            chunk = response.read1(_CHUNK, decode_content=True)
        except (HTTPError, OSError, ValueError) as error:
            raise responses.network_error(error, task.url, late=task.is_late, body=True) from error
        if not chunk:
            return
        yield chunk
