"""The policy of downloads: timeouts, size limits, tries and the waits between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import tenacity

from ingest.images.http.addresses import AddressPolicy
from ingest.images.http.headers import HostHeaders
from ingest.images.urls import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=10)


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

    def retrying(self, sleep: Callable[[float], None]) -> tenacity.Retrying:
        """Return what calls a function until it raises no TransientError; `sleep` is called for each wait."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(self.tries) | tenacity.stop_before_delay(self.deadline_s),
            wait=_wait,
            sleep=sleep,
            reraise=True,
        )


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next try: exponential, and at least what the server asks for."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.wait_s if isinstance(error, TransientError) else 0.0
    return max(asked, _backoff(state))
