"""Limits per host: connections at once, pauses that the host asks for, and a rest after many failures in a row."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.core.records import Reason
from ingest.images.urls import DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAILURES = 20
"""Failures in a row after which a host rests."""

REST_S = 60.0

# Failures that count against a host. A missing image does not.
_HOST_FAILURES = frozenset(
    {
        Reason.DNS,
        Reason.CONNECT,
        Reason.TIMEOUT,
        Reason.TLS,
        Reason.BAD_ANSWER,
        Reason.HTTP_429,
        Reason.HTTP_5XX,
        Reason.TRUNCATED,
    }
)


@dataclass(slots=True)
class _Host:
    slots: threading.BoundedSemaphore
    failures: int = 0
    rests_until: float = 0.0
    not_before: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class HostThrottle:
    """The hosts of one run, for any number of threads. `sleep` waits out the pauses that hosts ask for."""

    def __init__(self, at_once: int, sleep: Callable[[float], None]) -> None:
        self._at_once = at_once
        self._sleep = sleep
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def slot(self, name: str, ends: float) -> Iterator[None]:
        """Let at most `at_once` threads talk to the host in the block, and count its failures.

        Raises DownloadError: HOST_RESTING if the host rests or asked for a pause beyond `ends`, TIMEOUT if no slot is
        free before then.
        """
        host = self._host(name)
        self._admit(host, name, ends)
        if not host.slots.acquire(timeout=max(0.0, ends - time.monotonic())):
            raise DownloadError(Reason.TIMEOUT, f"{name}: no connection was free in time; raise --download-per-host")
        try:
            yield
        except DownloadError as error:
            self._count_failure(host, error.reason)
            raise
        else:
            host.failures = 0
        finally:
            host.slots.release()

    def pause(self, name: str, seconds: float) -> None:
        """Send the host no request for this long, as it asked for."""
        self._host(name).not_before = time.monotonic() + seconds

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            with self._lock:
                host = self._hosts.setdefault(name, _Host(threading.BoundedSemaphore(self._at_once)))
        return host

    def _admit(self, host: _Host, name: str, ends: float) -> None:
        now = time.monotonic()
        if host.rests_until > now:
            detail = f"{name}: failed {FAILURES} times in a row and is not asked for a while; run again later"
            raise DownloadError(Reason.HOST_RESTING, detail)
        if host.not_before > ends:
            detail = f"{name}: asked for a pause of {host.not_before - now:.0f} s; run again after it"
            raise DownloadError(Reason.HOST_RESTING, detail)
        if host.not_before > now:
            self._sleep(host.not_before - now)

    def _count_failure(self, host: _Host, reason: Reason) -> None:
        with host.lock:
            if reason not in _HOST_FAILURES:
                host.failures = 0
                return
            host.failures += 1
            if host.failures >= FAILURES:
                # After its rest, one failure is enough for another.
                host.failures = FAILURES - 1
                host.rests_until = time.monotonic() + REST_S
