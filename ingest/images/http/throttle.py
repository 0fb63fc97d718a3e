"""What is known of each host during a run: how many talk to it, when it may be asked again, whether it rests."""

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
"""After so many failures in a row a host rests."""

REST_S = 60.0

# What says that a host is not well; that it has no such picture does not.
_ILL = frozenset(
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
    """The hosts of one run, for any number of threads. `sleep` waits where a host asked for it."""

    def __init__(self, at_once: int, sleep: Callable[[float], None]) -> None:
        self._at_once = at_once
        self._sleep = sleep
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def turn(self, name: str, ends: float) -> Iterator[None]:
        """Let at most so many threads at once talk to the host in the block, and note how that went.

        Raises DownloadError: HOST_RESTING where it rests or asked to be left alone past `ends`, TIMEOUT where no
        turn came before.
        """
        host = self._host(name)
        self._admit(host, name, ends)
        if not host.slots.acquire(timeout=max(0.0, ends - time.monotonic())):
            raise DownloadError(Reason.TIMEOUT, f"{name}: no turn came in time; raise --download-per-host")
        try:
            yield
        except DownloadError as error:
            self._failed(host, error.reason)
            raise
        else:
            host.failures = 0
        finally:
            host.slots.release()

    def pause(self, name: str, seconds: float) -> None:
        """Leave the host alone for so long, as it asked for."""
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
            detail = f"{name}: rests after {FAILURES} failures in a row; run again later"
            raise DownloadError(Reason.HOST_RESTING, detail)
        if host.not_before > ends:
            detail = f"{name}: asked to be left alone for {host.not_before - now:.0f} s; run again then"
            raise DownloadError(Reason.HOST_RESTING, detail)
        if host.not_before > now:
            self._sleep(host.not_before - now)

    def _failed(self, host: _Host, reason: Reason) -> None:
        with host.lock:
            if reason not in _ILL:
                host.failures = 0
                return
            host.failures += 1
            if host.failures >= FAILURES:
                # The first failure after the rest sends it to rest again.
                host.failures = FAILURES - 1
                host.rests_until = time.monotonic() + REST_S
